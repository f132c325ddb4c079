-- expect: exit 255
-- expect: output the target 'web.example.net:/srv/www/' is not on this machine

sync {
    default.direct,
    source = "/srv/place/www",
    target = "web.example.net:/srv/www",
}
