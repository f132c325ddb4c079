-- expect: exit 255
-- expect: output contains its source '/srv/place/home/ann'
-- mkdir: home/ann

sync {
    default.direct,
    source = "/srv/place/home/ann",
    target = "/srv/place/home",
}
