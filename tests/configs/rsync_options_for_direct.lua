-- Lsyncd 2.x uses rsync for the first transfer of a direct sync, so its options apply there.
-- expect: exit 0
-- expect: output rsync.compress has no effect in default.direct
-- expect: no-output chmod has no effect
-- expect: live 143
-- expect: excluded scratch.tmp cache/old

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
