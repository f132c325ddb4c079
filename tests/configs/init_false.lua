-- expect: exit 0
-- expect: not live, what is there at the start is never transferred
-- expect: output init     none
-- expect: no-output at the startup

sync {
    default.rsync,
    source = "/srv/place/www",
    target = "/srv/place/mirror",
    init   = false,
}
