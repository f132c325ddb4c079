-- A mark of the order of bytes stands in front of this line.
-- expect: exit 0
-- expect: live 143

sync {
    default.rsync,
    source = "/srv/place/www",
    target = "/srv/place/mirror",
}
