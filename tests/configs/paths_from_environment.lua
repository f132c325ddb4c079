-- expect: exit 0
-- expect: live 143
-- expect: output target   /srv/place/copies/blue/
-- env: SITE_ROOT=/srv/place
-- env: SITE_NAME=blue
-- mkdir: copies

local root = os.getenv("SITE_ROOT")
local name = os.getenv("SITE_NAME") or "default"
local seconds = tonumber(os.getenv("SITE_DELAY") or 0.3)

settings {
    nodaemon = os.getenv("SITE_IN_CONTAINER") ~= nil,
}

sync {
    default.rsync,
    source = root .. "/www",
    target = root .. "/copies/" .. name,
    delay  = seconds,
}
