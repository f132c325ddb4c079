-- expect: exit 255
-- expect: output Unknown filter rule: "*.tmp"

sync {
    default.rsync,
    source = "/srv/place/www",
    target = "/srv/place/mirror",
    filter = { "*.tmp" },
}
