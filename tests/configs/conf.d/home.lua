sync {
    default.rsync,
    source = "/srv/place/home",
    target = "/srv/place/copies/home",
    rsync  = { perms = true },
}
