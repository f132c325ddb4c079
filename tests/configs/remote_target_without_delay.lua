-- expect: exit 0
-- expect: output Sync1: the target is remote and delay is 0

settings { insist = true }

sync {
    default.rsync,
    source = "/srv/place/www",
    target = "web.example.net:/srv/www",
    delay  = 0,
}
