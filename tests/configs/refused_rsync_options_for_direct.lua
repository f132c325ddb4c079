-- expect: exit 255
-- expect: output default.direct does not support rsync.dry_run, "--safe-links" in rsync._extra (nor rsync.compress)

sync {
    default.direct,
    source = "/srv/place/www",
    target = "/srv/place/mirror",
    rsync  = {
        dry_run  = true,
        compress = true,
        _extra   = { "--safe-links" },
    },
}
