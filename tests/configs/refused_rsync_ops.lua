-- expect: exit 255
-- expect: output Parameter "rsyncOps" unknown.
-- expect: output Hint: write rsync = {..} with its options, such as archive = true.

sync {
    default.rsync,
    source   = "/srv/place/www",
    target   = "/srv/place/mirror",
    rsyncOps = { "-avz" },
}
