-- Mirrors one tree to many hosts, most of them alike.
--
-- What to learn from it: a configuration file is a program. A loop makes the syncs, a layer holds what they
-- have in common, and a table says what is different at some of them. Each host has its own troubles:
-- one that is away costs the others nothing.
--
-- To try it:    SOURCE=/srv/www HOSTS="web1 web2 web3" lsyncd -nodaemon examples/many-hosts.lua
-- To change:    the layer and the table. SOURCE; HOSTS; TARGET, in which HOST stands for the name of the host.
-- It needs:     rsync, and ssh with a key that asks for nothing.

local hosts = os.getenv("HOSTS") or "web1 web2 web3"
local target = os.getenv("TARGET") or "HOST:/srv/www"

settings {
    -- A host that is down at the start is tried again, rather than ending the daemon.
    insist = true,
    -- So many transfers at once, of all syncs together.
    maxProcesses = 4,
}

local web = {
    default.rsync,
    source  = os.getenv("SOURCE") or "/srv/www",
    delay   = tonumber(os.getenv("DELAY") or 5),
    exclude = { "*.tmp", "/cache/" },
    rsync   = { archive = true, compress = true },
}

-- What a host has of its own. A list is added to that of the layer, all else takes its place.
local special = {
    web3 = { exclude = { "/drafts/" }, rsync = { bwlimit = 5000 } },
}

for host in hosts:gmatch("%S+") do
    local there = target:gsub("HOST", (host:gsub("%%", "%%%%")))
    sync { special[host] or {}, web, name = host, target = there }
end
