-- expect: exit 255
-- expect: output Cannot access source directory: /srv/place/htdocs

sync {
    default.rsync,
    source = "/srv/place/htdocs",
    target = "/srv/place/mirror",
}
