-- Excludes are changed after the sync was created.
-- expect: exit 0
-- expect: live 143
-- expect: excluded .git/config
-- expect: no-output exclude  *.tmp

local s = sync {
    default.rsync,
    source  = "/srv/place/www",
    target  = "/srv/place/mirror",
    exclude = { "*.tmp", "*.bak" },
}

s.rmExclude("*.tmp")
s.addExclude(".git")
