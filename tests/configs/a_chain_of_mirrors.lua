-- What arrives in the first target goes on from there.
-- expect: exit 0
-- expect: live 143
-- expect: lacks Warning
-- make: first

sync { default.rsync,  source = "/srv/place/www",   target = "/srv/place/first" }
sync { default.direct, source = "/srv/place/first", target = "/srv/place/second" }
