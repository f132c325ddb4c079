-- What a filter takes in, no pattern leaves out.
-- expect: exit 0
-- expect: live 143
-- expect: leaves out scratch.tmp .git/config
-- expect: says filter   + /cache/***
-- expect: says filter   - .git/
-- with: filters.txt

sync {
    default.rsync,
    source     = "/srv/place/www",
    target     = "/srv/place/mirror",
    filter     = { "+ /cache/***" },
    filterFrom = "/srv/place/etc/filters.txt",
    exclude    = { "cache", "*.tmp" },
}
