-- The one that comes first says what is done.
-- expect: exit 0
-- expect: live 143
-- expect: says Sync1: default.rsync

sync {
    default.rsync,
    default.direct,
    source = "/srv/place/www",
    target = "/srv/place/mirror",
}
