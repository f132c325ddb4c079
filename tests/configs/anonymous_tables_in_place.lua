-- What is to win over a default stands in front of it.
-- expect: exit 0
-- expect: live 143
-- expect: words rsync --delete -tsp --modify-window=-1 --max-delete=0 --stats -r /srv/place/www/ /srv/place/copies/www/
-- expect: words rsync --delete -ltsp --modify-window=-1 --max-delete=0 --stats -r /srv/place/home/ /srv/place/copies/home/
-- make: copies

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
