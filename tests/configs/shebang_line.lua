#!/usr/bin/env lsyncd
-- expect: exit 0
-- expect: live 143

sync {
    default.rsync,
    source = "/srv/place/www",
    target = "/srv/place/mirror",
}
