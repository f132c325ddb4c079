-- Filters precede excludes.
-- expect: exit 0
-- expect: live 143
-- expect: excluded scratch.tmp .git/config
-- expect: output filter   + /cache/***
-- expect: output filter   - .git/
-- with: filters.txt

sync {
    default.rsync,
    source     = "/srv/place/www",
    target     = "/srv/place/mirror",
    filter     = { "+ /cache/***" },
    filterFrom = "/srv/place/etc/filters.txt",
    exclude    = { "cache", "*.tmp" },
}
