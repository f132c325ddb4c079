-- A target in the source, left out by rules that let only some names through.
-- make: www/mnt/backup
-- expect: exit 0
-- expect: live 143
-- expect: leaves out .git/config cache/old scratch.tmp

sync {
    default.direct,
    source = "/srv/place/www",
    target = "/srv/place/www/mnt/backup",
    filter = { "+ /index.html", "+ /pages/***", "- /**" },
}
