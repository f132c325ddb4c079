-- expect: exit 255
-- expect: output Parameter "target" unknown.
-- expect: output Hint: default.rsyncssh has host and targetdir instead.

sync {
    default.rsyncssh,
    source = "/srv/place/www",
    target = "web.example.net:/srv/www",
}
