-- expect: exit 255
-- expect: output default.direct can't do what rsync.dry_run, "--safe-links" in rsync._extra says (nor rsync.compress)

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
