-- All that is wrong is told at once, each with its line.
-- expect: exit 255
-- expect: says refused_for_many_reasons.lua:11: setting "lofgile" unknown. Did you mean "logfile"?
-- expect: says refused_for_many_reasons.lua:19: Parameter "insist" unknown.
-- expect: says It belongs into settings{ .. }.
-- expect: says refused_for_many_reasons.lua:21: Parameter "rsync.bwlimt" unknown.
-- expect: says refused_for_many_reasons.lua:18: delay must be a number and >= 0
-- expect: says Cannot access source directory: /srv/place/nowhere

settings {
    lofgile = "/srv/place/var/log",
}

sync {
    default.rsync,
    source = "/srv/place/www",
    target = "/srv/place/mirror",
    delay  = "soon",
    insist = true,
    rsync  = {
        bwlimt = 100,
    },
}

sync { default.rsync, source = "/srv/place/nowhere", target = "/srv/place/mirror" }
