-- expect: exit 0
-- expect: live 143
-- expect: output site: default.rsync
-- expect: output people: default.direct
-- mkdir: copies

sync { default.rsync,  name = "site",   source = "/srv/place/www",  target = "/srv/place/copies/site" }
sync { default.direct, name = "people", source = "/srv/place/home", target = "/srv/place/copies/people" }
