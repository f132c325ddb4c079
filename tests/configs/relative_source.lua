-- A relative source counts from where the daemon is started.
-- expect: exit 0
-- expect: live 143
-- expect: says source   /srv/place/www/

sync {
    default.rsync,
    source = "www/",
    target = "/srv/place/mirror",
}
