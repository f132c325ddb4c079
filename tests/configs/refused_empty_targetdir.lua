-- expect: exit 255
-- expect: output targetdir is empty

sync {
    default.rsyncssh,
    source    = "/srv/place/www",
    host      = "web.example.net",
    targetdir = "",
}
