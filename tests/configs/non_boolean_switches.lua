-- expect: exit 0
-- expect: live 143
-- expect: output lsyncd: runs in the foreground
-- expect: output insist   yes
-- expect: output delete   never
-- expect: command rsync -ltspz --modify-window=-1 --stats -r /srv/place/www/ /srv/place/mirror/

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
