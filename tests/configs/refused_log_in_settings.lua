-- expect: exit 255
-- expect: output setting "log" unknown. Hint: write -log CATEGORY on the command line.

settings { log = "all" }

sync { default.rsync, source = "/srv/place/www", target = "/srv/place/mirror" }
