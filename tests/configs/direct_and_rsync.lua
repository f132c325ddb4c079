-- expect: exit 0
-- expect: live 143
-- expect: output Sync1: default.direct
-- expect: output Sync2: default.rsync
-- mkdir: copies

sync { default.direct, source = "/srv/place/www", target = "/srv/place/copies/here" }
sync { default.rsync,  source = "/srv/place/www", target = "/srv/place/copies/there" }
