-- expect: exit 255
-- expect: output unknown. ( if this is not a typo add it to checkgauge ) Hint: 
-- expect: output belongs to default.rsyncssh; for default.rsync write target = "host:dir"

sync {
    default.rsync,
    source    = "/srv/place/www",
    host      = "web.example.net",
    targetdir = "/srv/www",
}
