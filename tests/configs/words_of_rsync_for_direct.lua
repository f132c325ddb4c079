-- Lsyncd 2.x makes the first transfer of a direct sync by rsync, so its options count there.
-- expect: exit 0
-- expect: says rsync.compress has no effect in default.direct
-- expect: lacks chmod has no effect
-- expect: live 143
-- expect: leaves out scratch.tmp cache/old

sync {
    default.direct,
    source = "/srv/place/www",
    target = "/srv/place/mirror",
    rsync  = {
        archive  = true,
        compress = true,
        update   = true,
        chmod    = "F644",
        _extra   = { "--exclude=*.tmp", "--filter=- /cache/" },
    },
}
