-- expect: exit 0
-- expect: live 143
-- expect: output exitcodes user-defined

sync {
    default.rsync,
    source    = "/srv/place/www",
    target    = "/srv/place/mirror",
    exitcodes = { [0] = "ok", [23] = "ok", [24] = "ok", [12] = "again", [255] = "again", [1] = "die" },
}
