-- expect: exit 0
-- expect: not live, there is nothing to be called
-- expect: output cannot find /srv/place/etc/no-rsync: install rsync, or set rsync.binary

sync {
    default.rsync,
    source = "/srv/place/www",
    target = "/srv/place/mirror",
    rsync  = { binary = "/srv/place/etc/no-rsync" },
}
