-- expect: exit 255
-- expect: output error loading /srv/place/etc/refused_unclosed_parenthesis.lua

sync {
    default.rsync,
    source = "/srv/place/www",
    target = "/srv/place/mirror",
