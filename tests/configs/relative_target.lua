-- In the foreground it counts from there too.
-- expect: exit 0
-- expect: live 143
-- expect: lacks Warning

settings { nodaemon = true }

sync {
    default.rsync,
    source = "www",
    target = "mirror",
}
