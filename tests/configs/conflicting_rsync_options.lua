-- expect: exit 0
-- expect: output "-R" in rsync._extra: the full path of the source is created in the target
-- expect: output "--exclude *.tmp" in rsync._extra is a single argument with a blank in it
-- expect: output rsync.append: a file that is truncated
-- expect: output the pattern !keep excludes the name "!keep"
-- expect: output twice: several syncs have this name
-- expect: not live, these words break it

sync {
    default.rsync,
    name    = "twice",
    source  = "/srv/place/www",
    target  = "/srv/place/one",
    exclude = { "*.o", "!keep" },
    rsync   = {
        append = true,
        _extra = { "-R", "--exclude *.tmp" },
    },
}

sync {
    default.rsync,
    name   = "twice",
    source = "/srv/place/www",
    target = "/srv/place/two",
}
