-- expect: exit 255
-- expect: output delay must be a number and >= 0

sync {
    default.rsync,
    source = "/srv/place/www",
    target = "/srv/place/mirror",
    delay  = "five",
}
