-- In the foreground it is resolved against the start directory, too.
-- expect: exit 0
-- expect: live 143
-- expect: no-output Warning

settings { nodaemon = true }

sync {
    default.rsync,
    source = "www",
    target = "mirror",
}
