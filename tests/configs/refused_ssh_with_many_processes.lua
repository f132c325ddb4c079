-- expect: exit 255
-- expect: says default.rsyncssh must have maxProcesses set to 1.

sync {
    default.rsyncssh,
    source       = "/srv/place/www",
    host         = "web.example.net",
    targetdir    = "/srv/www",
    maxProcesses = 4,
}
