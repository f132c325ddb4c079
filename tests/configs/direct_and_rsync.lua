-- expect: exit 0
-- expect: live 143
-- expect: says Sync1: default.direct
-- expect: says Sync2: default.rsync
-- make: copies

sync { default.direct, source = "/srv/place/www", target = "/srv/place/copies/here" }
sync { default.rsync,  source = "/srv/place/www", target = "/srv/place/copies/there" }
