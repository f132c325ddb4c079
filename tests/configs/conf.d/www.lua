sync {
    default.rsync,
    source = "/srv/place/www",
    target = "/srv/place/copies/www",
}
