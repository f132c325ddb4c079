-- expect: exit 255
-- expect: output Parameter "rsync.ssh" unknown.
-- expect: output use default.rsyncssh with ssh = {..}

sync {
    default.rsync,
    source = "/srv/place/www",
    target = "web.example.net:/srv/www",
    rsync  = { ssh = { port = 2222 } },
}
