-- expect: exit 0
-- expect: live 143
-- expect: output init     a full transfer

sync {
    default.rsync,
    source = "/srv/place/www",
    target = "/srv/place/mirror",
    init   = true,
}
