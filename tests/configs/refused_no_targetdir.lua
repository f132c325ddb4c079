-- expect: exit 255
-- expect: output default.rsyncssh needs "targetdir" configured

sync {
    default.rsyncssh,
    source = "/srv/place/www",
    host   = "web.example.net",
}
