-- expect: exit 255
-- expect: output default.rsync needs "target" configured

sync {
    default.rsync,
    source = "/srv/place/www",
}
