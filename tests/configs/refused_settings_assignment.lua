-- expect: exit 255
-- expect: output Do not use settings = { ... }
-- expect: output please use settings{ ... } (without the equal sign)

settings = {
    logfile    = "/srv/place/var/lsyncd.log",
    statusFile = "/srv/place/var/status",
}

sync {
    default.rsync,
    source = "/srv/place/www",
    target = "/srv/place/mirror",
}
