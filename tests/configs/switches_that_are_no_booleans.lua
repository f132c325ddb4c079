-- expect: exit 0
-- expect: live 143
-- expect: says lsyncd: stays in the foreground
-- expect: says insist   yes
-- expect: says delete   never
-- expect: words rsync -ltspz --modify-window=-1 -r /srv/place/www/ /srv/place/mirror/

settings {
    nodaemon = "true",
    insist   = 1,
}

sync {
    default.rsync,
    source = "/srv/place/www",
    target = "/srv/place/mirror",
    delete = "false",
    rsync  = { compress = 1, perms = "yes" },
}
