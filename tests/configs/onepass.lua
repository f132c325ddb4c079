-- For a timer: it exits once everything is in sync.
-- expect: exit 0
-- expect: live 0
-- expect: output onepass

settings {
    nodaemon = true,
    onepass  = true,
}

sync {
    default.rsync,
    source = "/srv/place/www",
    target = "/srv/place/mirror",
    rsync  = { archive = true, hard_links = true },
}
