-- expect: exit 255
-- expect: says Do not use settings = { ... }
-- expect: says please use settings{ ... } (without the equal sign)

settings = {
    logfile    = "/srv/place/var/lsyncd.log",
    statusFile = "/srv/place/var/status",
}

sync {
    default.rsync,
    source = "/srv/place/www",
    target = "/srv/place/mirror",
}
