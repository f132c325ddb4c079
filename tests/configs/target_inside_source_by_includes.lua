-- A target inside the source, excluded by rules that include only some names.
-- mkdir: www/mnt/backup
-- expect: exit 0
-- expect: live 143
-- expect: excluded .git/config cache/old scratch.tmp

sync {
    default.direct,
    source = "/srv/place/www",
    target = "/srv/place/www/mnt/backup",
    filter = { "+ /index.html", "+ /pages/***", "- /**" },
}
