-- expect: exit 255
-- expect: output module 'hosts_of_this_site' not found

local hosts = require("hosts_of_this_site")

for _, host in ipairs(hosts) do
    sync { default.rsync, source = "/srv/place/www", target = host .. ":/srv/www" }
end
