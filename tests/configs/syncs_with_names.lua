-- expect: exit 0
-- expect: live 143
-- expect: says site: default.rsync
-- expect: says people: default.direct
-- make: copies

sync { default.rsync,  name = "site",   source = "/srv/place/www",  target = "/srv/place/copies/site" }
sync { default.direct, name = "people", source = "/srv/place/home", target = "/srv/place/copies/people" }
