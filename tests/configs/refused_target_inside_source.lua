-- expect: exit 255
-- expect: output is inside its source '/srv/place/www'

sync {
    default.rsync,
    source = "/srv/place/www",
    target = "/srv/place/www/backup",
}
