-- expect: exit 255
-- expect: output exitcodes[12] must be "ok", "again" or "die", not "retry"

sync {
    default.rsync,
    source    = "/srv/place/www",
    target    = "/srv/place/mirror",
    exitcodes = { [0] = "ok", [12] = "retry" },
}
