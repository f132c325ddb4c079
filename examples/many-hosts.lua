-- Mirrors one directory to many hosts with mostly the same settings.
--
-- Shows:
--   - a configuration file is a program: a loop creates the syncs, a layer holds the common
--     settings, and a table holds the settings of individual hosts
--   - independent failures: an unreachable host does not delay the others
-- Try:
--   SOURCE=/srv/www HOSTS="web1 web2 web3" lsyncd -nodaemon examples/many-hosts.lua
-- Settings (environment variables):
--   SOURCE  directory to mirror
--   HOSTS   host names, separated by blanks
--   TARGET  destination; HOST in it is replaced by the host name
--   DELAY   seconds from the first change to the transfer
-- Requires: rsync, and an ssh login without a prompt.

local hosts = os.getenv("HOSTS") or "web1 web2 web3"
local target = os.getenv("TARGET") or "HOST:/srv/www"

settings {
    -- Retries a host that is unreachable at startup instead of exiting.
    insist = true,
    -- Maximum number of concurrent transfers of all syncs.
    maxProcesses = 4,
}

local web = {
    default.rsync,
    source  = os.getenv("SOURCE") or "/srv/www",
    delay   = tonumber(os.getenv("DELAY") or 5),
    exclude = { "*.tmp", "/cache/" },
    rsync   = { archive = true, compress = true },
}

-- Settings of individual hosts. Lists are joined with those of the layer, tables are merged, and
-- other values take precedence.
local special = {
    web3 = { exclude = { "/drafts/" }, rsync = { bwlimit = 5000 } },
}

for host in hosts:gmatch("%S+") do
    local there = target:gsub("HOST", (host:gsub("%%", "%%%%")))
    sync { special[host] or {}, web, name = host, target = there }
end
