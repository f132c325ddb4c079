-- A script reads the defaults, and formats numbers as Lua 5.2.
-- expect: exit 0
-- expect: output delay    15 s
-- expect: no-output Warning
-- expect: not live, its script copies nothing

local again = {}
for code, class in pairs(default.rsyncExitCodes) do
    if class == "again" then again[code] = bit32.band(code, 0xff) end
end
assert(again[12] == 12 and default.sshExitCodes[255] == "again")

sync {
    source = "/srv/place/www",
    target = "/srv/place/www/nobody-looks-at-it",
    delay  = default.rsync.delay,
    onCreate = "true",
}
