-- expect: exit 255
-- expect: output Parameter "rsync.delete" unknown.
-- expect: output Hint: write delete next to rsync, not in it

sync {
    default.rsync,
    source = "/srv/place/www",
    target = "/srv/place/mirror",
    rsync  = { archive = true, delete = true },
}
