-- expect: exit 255
-- expect: says Parameter "target" unknown.
-- expect: says Hint: default.rsyncssh has host and targetdir in its place.

sync {
    default.rsyncssh,
    source = "/srv/place/www",
    target = "web.example.net:/srv/www",
}
