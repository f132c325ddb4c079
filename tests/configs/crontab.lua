-- expect: exit 0
-- expect: live 143
-- expect: output crontab

sync {
    default.rsync,
    source  = "/srv/place/www",
    target  = "/srv/place/mirror",
    crontab = { "0 30 3 * * *" },
}
