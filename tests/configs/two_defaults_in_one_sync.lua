-- The first one applies.
-- expect: exit 0
-- expect: live 143
-- expect: output Sync1: default.rsync

sync {
    default.rsync,
    default.direct,
    source = "/srv/place/www",
    target = "/srv/place/mirror",
}
