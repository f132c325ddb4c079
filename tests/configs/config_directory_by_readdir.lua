-- Each file of a directory adds a sync.
-- expect: exit 0
-- expect: live 143
-- expect: output Sync2: default.rsync
-- with: conf.d/www.lua conf.d/home.lua
-- mkdir: copies

settings { logfile = "/srv/place/var/lsyncd.log" }

local directory = "/srv/place/etc/conf.d"
local names = {}
for name, is_directory in pairs(readdir(directory)) do
    if not is_directory and string.ends(name, ".lua") then
        names[#names + 1] = name
    end
end
table.sort(names)
for _, name in ipairs(names) do
    dofile(directory .. "/" .. name)
end
