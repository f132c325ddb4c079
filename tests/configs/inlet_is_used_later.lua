-- What is left out is changed after the sync was made.
-- expect: exit 0
-- expect: live 143
-- expect: leaves out .git/config
-- expect: lacks exclude  *.tmp

local s = sync {
    default.rsync,
    source  = "/srv/place/www",
    target  = "/srv/place/mirror",
    exclude = { "*.tmp", "*.bak" },
}

s.rmExclude("*.tmp")
s.addExclude(".git")
