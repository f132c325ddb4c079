-- expect: exit 0
-- expect: live 143
-- expect: excluded .git/config

sync {
    default.rsync,
    source  = "/srv/place/www",
    target  = "/srv/place/mirror",
    exclude = ".git",
}
