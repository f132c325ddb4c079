-- expect: exit 0
-- expect: not live, there is nothing to be called
-- expect: says cannot run /srv/place/etc/no-rsync: No such file or directory

sync {
    default.rsync,
    source = "/srv/place/www",
    target = "/srv/place/mirror",
    rsync  = { binary = "/srv/place/etc/no-rsync" },
}
