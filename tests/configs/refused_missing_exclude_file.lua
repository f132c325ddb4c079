-- expect: exit 255
-- expect: output Cannot open exclude file "/srv/place/etc/no-excludes.txt": /srv/place/etc/no-excludes.txt: No such file or directory

sync {
    default.rsync,
    source      = "/srv/place/www",
    target      = "/srv/place/mirror",
    excludeFrom = "/srv/place/etc/no-excludes.txt",
}
