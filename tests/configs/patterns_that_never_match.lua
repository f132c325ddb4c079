-- expect: exit 0
-- expect: live 143
-- expect: output the pattern /srv/place/www/cache never matches: patterns are relative to the source: write /cache
-- expect: output the pattern ./scratch.tmp never matches: no path begins with a dot component: write /scratch.tmp
-- expect: no-output pattern .git

sync {
    default.rsync,
    source  = "/srv/place/www",
    target  = "/srv/place/mirror",
    exclude = { "/srv/place/www/cache", "./scratch.tmp", "*.bak" },
}
