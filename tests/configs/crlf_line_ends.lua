-- expect: exit 0
-- expect: live 143
-- expect: excluded cache/old

settings {
    logfile = "/srv/place/var/lsyncd.log",
}

sync {
    default.rsync,
    source  = "/srv/place/www",
    target  = "/srv/place/mirror",
    exclude = {
        "cache",
    },
}
