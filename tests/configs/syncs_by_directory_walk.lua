-- A sync for each directory with a marker file.
-- expect: exit 0
-- expect: live 143
-- expect: output source   /srv/place/home/ann/
-- expect: no-output /srv/place/home/cam/
-- mkdir: home/ann/.mirrored home/bob/.mirrored home/cam copies

local function walk(directory, found)
    for name, is_directory in pairs(readdir(directory) or {}) do
        if name == ".mirrored" then
            found[#found + 1] = directory
        elseif is_directory then
            walk(directory .. "/" .. name, found)
        end
    end
    return found
end

local homes = walk("/srv/place/home", {})
table.sort(homes)
for _, home in ipairs(homes) do
    sync {
        default.rsync,
        source = home,
        target = "/srv/place/copies/" .. home:match("[^/]+$"),
        delay  = 1,
    }
end
