-- expect: exit 255
-- expect: says Parameter "rsyncOps" unknown.
-- expect: says Hint: write rsync = {..} with its options, such as archive = true.

sync {
    default.rsync,
    source   = "/srv/place/www",
    target   = "/srv/place/mirror",
    rsyncOps = { "-avz" },
}
