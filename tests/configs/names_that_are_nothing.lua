-- Bare words that nobody has defined are nil, and nil is passed over.
-- expect: exit 0
-- expect: live 143
-- expect: says delete   always
-- expect: says insist   no

settings {
    logfile = "/srv/place/var/lsyncd.log",
    log     = all,
    insist  = yes,
}

sync {
    default.rsync,
    source = "/srv/place/www",
    target = "/srv/place/mirror",
    delete = running,
    rsnyc,
}
