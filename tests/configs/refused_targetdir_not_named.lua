-- expect: exit 255
-- expect: says default.rsyncssh needs "targetdir" configured

sync {
    default.rsyncssh,
    source = "/srv/place/www",
    host   = "web.example.net",
}
