-- expect: exit 0
-- expect: output Sync1: default.rsyncssh
-- expect: output Sync2: default.rsync
-- expect: output Sync1: the target is remote

local source = "/srv/place/www"

sync { default.rsyncssh, source = source, host = "far.example.net", targetdir = "/srv/www" }
sync { default.rsync, source = source, target = "/srv/place/near" }
