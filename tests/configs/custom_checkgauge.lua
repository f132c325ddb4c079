-- A sync with a custom key.
-- expect: exit 0
-- expect: live 143
-- mkdir: copies

local labelled = {
    default.rsync,
    checkgauge = { default.rsync.checkgauge, label = true },
}

local function add(label, source)
    sync { labelled, label = label, source = source, target = "/srv/place/copies/" .. label }
end

add("site", "/srv/place/www")
add("people", "/srv/place/home")
