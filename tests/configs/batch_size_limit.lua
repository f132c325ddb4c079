-- expect: exit 0
-- expect: live 143
-- expect: output batchSizeLimit 10485760 bytes

sync {
    default.rsync,
    source = "/srv/place/www",
    target = "/srv/place/mirror",
    batchSizeLimit = 10 * 1024 * 1024,
}
