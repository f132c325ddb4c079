-- expect: exit 255
-- expect: says error loading /srv/place/etc/refused_parenthesis_left_open.lua

sync {
    default.rsync,
    source = "/srv/place/www",
    target = "/srv/place/mirror",
