-- expect: exit 0
-- expect: live 143
-- expect: says the pattern /srv/place/www/cache never matches: patterns count from the source: write /cache
-- expect: says the pattern ./scratch.tmp never matches: no name is a dot: write /scratch.tmp
-- expect: lacks pattern .git

sync {
    default.rsync,
    source  = "/srv/place/www",
    target  = "/srv/place/mirror",
    exclude = { "/srv/place/www/cache", "./scratch.tmp", "*.bak" },
}
