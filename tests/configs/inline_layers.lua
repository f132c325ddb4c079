-- Layers before a default override it.
-- expect: exit 0
-- expect: live 143
-- expect: command rsync --delete -tsp --modify-window=-1 --max-delete=0 --stats -r /srv/place/www/ /srv/place/copies/www/
-- expect: command rsync --delete -ltsp --modify-window=-1 --max-delete=0 --stats -r /srv/place/home/ /srv/place/copies/home/
-- mkdir: copies

sync {
    { rsync = { links = false, perms = true } },
    default.rsync,
    source = "/srv/place/www",
    target = "/srv/place/copies/www",
}

sync {
    default.rsync,
    { rsync = { links = false, perms = true } },
    { source = "/srv/place/home" },
    target = "/srv/place/copies/home",
}
