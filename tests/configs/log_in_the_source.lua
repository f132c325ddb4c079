-- expect: exit 0
-- expect: live 143
-- expect: output logfile: /srv/place/www/logs/lsyncd.log is inside the source /srv/place/www, and is mirrored with it
-- expect: output statusFile: no such directory: /srv/place/nowhere
-- mkdir: www/logs

settings {
    logfile    = "/srv/place/www/logs/lsyncd.log",
    statusFile = "/srv/place/nowhere/status",
}

sync {
    default.rsync,
    source = "/srv/place/www",
    target = "/srv/place/mirror",
}
