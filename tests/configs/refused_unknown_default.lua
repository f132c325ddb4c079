-- expect: exit 255
-- expect: says refused_unknown_default.lua:6: default.rsynk is unknown. Did you mean "default.rsync"?
-- expect: lacks Parameter

sync {
    default.rsynk,
    source = "/srv/place/www",
    target = "/srv/place/mirror",
    rsync  = { archive = true },
}
