-- Undefined globals are nil, and nil is ignored.
-- expect: exit 0
-- expect: live 143
-- expect: output delete   always
-- expect: output insist   no

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
