-- expect: exit 0
-- expect: live 143
-- expect: excluded scratch.tmp
-- expect: output Sync2: default.rsync
-- mkdir: copies

local base = "/srv/place"
local everywhere = { "*.tmp", "*.swp" }

local function joined(a, b)
    local all = {}
    for _, list in ipairs { a, b or {} } do
        for _, pattern in ipairs(list) do all[#all + 1] = pattern end
    end
    return all
end

function mirror(name, options)
    options = options or {}
    return sync {
        default.rsync,
        source  = base .. "/" .. name,
        target  = base .. "/copies/" .. name,
        delay   = options.delay or 1,
        exclude = joined(everywhere, options.exclude),
        rsync   = { archive = true },
    }
end

mirror("www")
mirror("home", { delay = 0.5, exclude = { "Downloads" } })
