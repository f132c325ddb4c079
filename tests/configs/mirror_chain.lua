-- The first target is the second source.
-- expect: exit 0
-- expect: live 143
-- expect: no-output Warning
-- mkdir: first

sync { default.rsync,  source = "/srv/place/www",   target = "/srv/place/first" }
sync { default.direct, source = "/srv/place/first", target = "/srv/place/second" }
