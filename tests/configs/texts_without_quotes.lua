-- expect: exit 0
-- expect: says texts_without_quotes.lua:13: there is no global startup, so this is nil; if a text is meant, write "startup"
-- expect: says Sync2: delete = "false" deletes nothing
-- expect: says delete   never
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
