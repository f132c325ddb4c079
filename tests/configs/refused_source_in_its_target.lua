-- expect: exit 255
-- expect: says holds its source '/srv/place/home/ann'
-- make: home/ann

sync {
    default.direct,
    source = "/srv/place/home/ann",
    target = "/srv/place/home",
}
