-- expect: exit 255
-- expect: output refused_unknown_default.lua:6: default.rsynk is unknown. Did you mean "default.rsync"?
-- expect: no-output Parameter

sync {
    default.rsynk,
    source = "/srv/place/www",
    target = "/srv/place/mirror",
    rsync  = { archive = true },
}
