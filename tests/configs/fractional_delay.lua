-- expect: exit 0
-- expect: live 143
-- expect: output delay    0.25 s, or 1000 changes
-- expect: output delay    0 s, or 50 changes
-- mkdir: copies

sync {
    default.rsync,
    source = "/srv/place/www",
    target = "/srv/place/copies/www",
    delay  = 0.25,
}

sync {
    default.rsync,
    source    = "/srv/place/home",
    target    = "/srv/place/copies/home",
    delay     = 0,
    maxDelays = 50,
}
