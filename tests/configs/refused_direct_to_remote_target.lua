-- expect: exit 255
-- expect: output the target 'web.example.net:/srv/www/' is remote

sync {
    default.direct,
    source = "/srv/place/www",
    target = "web.example.net:/srv/www",
}
