-- expect: exit 255
-- expect: output Parameter "rsync" must be a table.

sync {
    default.rsync,
    source = "/srv/place/www",
    target = "/srv/place/mirror",
    rsync  = "-avz --delete",
}
