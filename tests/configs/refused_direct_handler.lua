-- expect: exit 255
-- expect: output Parameter "onCreate" unknown.

sync {
    default.direct,
    source   = "/srv/place/www",
    target   = "/srv/place/mirror",
    onCreate = "chown www-data ^target^pathname",
}
