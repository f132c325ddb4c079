-- All errors are reported at once, each with its line.
-- expect: exit 255
-- expect: output refused_with_several_errors.lua:11: setting "lofgile" unknown. Did you mean "logfile"?
-- expect: output refused_with_several_errors.lua:19: Parameter "insist" unknown.
-- expect: output It belongs in settings{ .. }.
-- expect: output refused_with_several_errors.lua:21: Parameter "rsync.bwlimt" unknown.
-- expect: output refused_with_several_errors.lua:18: delay must be a number and >= 0
-- expect: output Cannot access source directory: /srv/place/nowhere

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
