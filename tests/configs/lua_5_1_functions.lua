-- Functions that newer versions of Lua no longer have.
-- expect: exit 0
-- expect: live 143
-- expect: output delay    1 s, or 8 changes
-- expect: output target   /srv/place/copies/home/
-- mkdir: copies

local names = { "www", "home" }
local first, second = unpack(names)
local limit = loadstring("return 2")() * table.getn(names) ^ 2

assert(lsyncd_version ~= nil and string.starts(first, "w"))

for i = 1, table.getn(names) do
    sync {
        default.rsync,
        source    = "/srv/place/" .. names[i],
        target    = "/srv/place/copies/" .. names[i],
        delay     = math.pow(2, 0),
        maxDelays = limit,
    }
end
