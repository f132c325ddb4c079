-- expect: exit 255
-- expect: says Parameter "rsync.delete" unknown.
-- expect: says Hint: write delete beside rsync, not in it

sync {
    default.rsync,
    source = "/srv/place/www",
    target = "/srv/place/mirror",
    rsync  = { archive = true, delete = true },
}
