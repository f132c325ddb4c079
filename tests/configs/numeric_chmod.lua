-- expect: exit 0
-- expect: command rsync --delete -ltsp --chmod=666 --chown=www-data:www-data --timeout=300 --modify-window=-1 --max-delete=0 --stats -r /srv/place/www/ web.example.net:/srv/www/

settings { insist = true }

sync {
    default.rsync,
    source = "/srv/place/www",
    target = "web.example.net:/srv/www",
    rsync  = {
        perms = true,
        chmod = 666,
        chown = "www-data:www-data",
    },
}
