-- expect: exit 255
-- expect: says default.rsync needs "target" configured

sync {
    default.rsync,
    source = "/srv/place/www",
}
