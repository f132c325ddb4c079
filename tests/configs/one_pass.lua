-- For a timer: it ends when all is equal.
-- expect: exit 0
-- expect: live 0
-- expect: says onepass

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
