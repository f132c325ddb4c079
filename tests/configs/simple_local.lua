-- expect: exit 0
-- expect: live 143
-- expect: output statusFile /srv/place/var/lsyncd.status, every 20 s
-- expect: output delay    15 s, or 1000 changes
-- expect: command rsync --delete -lts --modify-window=-1 --max-delete=0 --stats -r /srv/place/www/ /srv/place/backup/www/
-- mkdir: backup

settings {
    logfile        = "/srv/place/var/lsyncd.log",
    statusFile     = "/srv/place/var/lsyncd.status",
    statusInterval = 20,
}

sync {
    default.rsync,
    source = "/srv/place/www",
    target = "/srv/place/backup/www",
    delay  = 15,
}
