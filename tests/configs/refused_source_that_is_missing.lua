-- expect: exit 255
-- expect: says Cannot access source directory: /srv/place/htdocs

sync {
    default.rsync,
    source = "/srv/place/htdocs",
    target = "/srv/place/mirror",
}
