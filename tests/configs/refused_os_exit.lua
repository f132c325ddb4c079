-- expect: exit 255
-- expect: output the configuration requested exit code 0

if not os.getenv("SITE_THAT_IS_NOT_SET") then
    print("nothing to do")
    os.exit(0)
end
