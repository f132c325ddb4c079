-- Mirrors to an rsync daemon that is reachable only through ssh, over several connections.
--
-- Shows:
--   - a pool of tunnels. Each one is an ssh process that forwards its own local port. The daemon
--     restarts them when they exit, transfers use them in turn, and changes wait while all are down
-- Try:
--   SOURCE=/srv/www HOST=me@backup TARGET=www lsyncd -nodaemon examples/tunnel.lua
-- Settings (environment variables):
--   SOURCE   directory to mirror
--   HOST     host to log in to
--   PORT     port of the rsync daemon on that host
--   TARGET   module of the rsync daemon, optionally followed by a path
--   TUNNELS  number of tunnels
--   SSH      ssh command, optionally with options
--   DELAY    seconds from the first change to the transfer
-- Requires: rsync, and an ssh login without a prompt.

local host = os.getenv("HOST") or "me@backup"
local port = os.getenv("PORT") or "873"
local ssh = os.getenv("SSH") or "ssh"

local through = tunnel {
    mode     = "pool",
    parallel = tonumber(os.getenv("TUNNELS") or 2),
    -- ssh exits if it cannot forward the port, and is then restarted.
    command  = ssh .. " -N -o ExitOnForwardFailure=yes -L ^localport:localhost:" .. port .. " " .. host,
}

sync {
    default.rsync,
    tunnel = through,
    source = os.getenv("SOURCE") or "/srv/www",
    target = "rsync://^localhost:^localport/" .. (os.getenv("TARGET") or "www"),
    delay  = tonumber(os.getenv("DELAY") or 5),
    rsync  = { archive = true, compress = true, timeout = 60 },
}
