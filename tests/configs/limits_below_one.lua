-- A limit below one counts as one, as in the original.
-- expect: exit 0
-- expect: output delay    1 s, or 1 changes
-- expect: live 143

settings {
    maxProcesses = 0,
    maxDelays    = 0,
}

sync {
    default.rsync,
    source       = "/srv/place/www",
    target       = "/srv/place/mirror",
    delay        = 1,
    maxProcesses = 0.5,
}
