-- expect: exit 255
-- expect: output default.rsyncssh must have maxProcesses set to 1.

sync {
    default.rsyncssh,
    source       = "/srv/place/www",
    host         = "web.example.net",
    targetdir    = "/srv/www",
    maxProcesses = 4,
}
