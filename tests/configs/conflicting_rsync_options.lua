-- expect: exit 0
-- expect: output "-R" in rsync._extra: all of the source's path is made in the target
-- expect: output "--exclude *.tmp" in rsync._extra is one word with a blank in it
-- expect: output rsync.append: a file that becomes shorter
-- expect: output the pattern !keep leaves out the name "!keep"
-- expect: output several syncs have the name twice
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
