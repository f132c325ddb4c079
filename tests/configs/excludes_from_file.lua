-- expect: exit 0
-- expect: live 143
-- expect: excluded scratch.tmp .git/config cache/old
-- expect: output exclude  *.tmp
-- expect: command rsync --exclude-from=- --delete -lts --modify-window=-1 --max-delete=0 --stats -r /srv/place/www/ /srv/place/mirror/
-- with: excludes.txt

settings {
    logfile = "/srv/place/var/lsyncd.log",
}

sync {
    default.rsync,
    source      = "/srv/place/www/",
    target      = "/srv/place/mirror/",
    exclude     = { ".git/" },
    excludeFrom = "/srv/place/etc/excludes.txt",
}
