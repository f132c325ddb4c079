-- A relative source is resolved against the start directory.
-- expect: exit 0
-- expect: live 143
-- expect: output source   /srv/place/www/

sync {
    default.rsync,
    source = "www/",
    target = "/srv/place/mirror",
}
