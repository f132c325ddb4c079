-- expect: exit 0
-- expect: live 143
-- expect: excluded scratch.tmp cache/old
-- with: windows-excludes.txt

sync {
    default.rsync,
    source      = "/srv/place/www",
    target      = "/srv/place/mirror",
    excludeFrom = "/srv/place/etc/windows-excludes.txt",
}
