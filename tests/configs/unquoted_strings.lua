-- expect: exit 0
-- expect: output unquoted_strings.lua:13: the global startup is undefined, so this is nil; if a string is meant, write "startup"
-- expect: output Sync2: delete = "false" deletes nothing
-- expect: output delete   never
-- expect: live 143

settings { nodaemon = true }

sync {
    default.rsync,
    source = "/srv/place/www",
    target = "/srv/place/one",
    delete = startup,
}

sync {
    default.rsync,
    source = "/srv/place/www",
    target = "/srv/place/two",
    delete = "false",
}
