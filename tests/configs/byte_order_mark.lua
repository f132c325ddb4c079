-- A byte order mark precedes this line.
-- expect: exit 0
-- expect: live 143

sync {
    default.rsync,
    source = "/srv/place/www",
    target = "/srv/place/mirror",
}
