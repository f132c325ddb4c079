-- expect: exit 0
-- expect: live 143
-- expect: leaves out scratch.tmp .git/config cache/old
-- expect: says exclude  *.tmp
-- expect: words rsync --exclude-from=- --delete -lts --modify-window=-1 --max-delete=0 --stats -r /srv/place/www/ /srv/place/mirror/
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
