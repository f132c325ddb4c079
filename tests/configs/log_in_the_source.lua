-- expect: exit 0
-- expect: live 143
-- expect: output logfile: /srv/place/www/logs/lsyncd.log lies in the source /srv/place/www, and is mirrored with it
-- expect: output statusFile: there is no directory /srv/place/nowhere
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
