-- Mirrors to an rsync daemon that only ssh can reach, through several connections.
--
-- What to learn from it: a pool of tunnels. Each of them is an ssh that forwards a port of its own; the daemon
-- keeps them running, transfers take them in turn, and while there is none, changes wait.
--
-- To try it:    SOURCE=/srv/www HOST=me@backup TARGET=www lsyncd -nodaemon examples/tunnel.lua
-- To change:    SOURCE; HOST, and PORT, on which the rsync daemon listens there; TARGET, a module and what
--               is below it; TUNNELS, how many; SSH, with further words.
-- It needs:     rsync and ssh, with a key that asks for nothing.

local host = os.getenv("HOST") or "me@backup"
local port = os.getenv("PORT") or "873"
local ssh = os.getenv("SSH") or "ssh"

local through = tunnel {
    mode     = "pool",
    parallel = tonumber(os.getenv("TUNNELS") or 2),
    -- It ends when it can't forward, and is started again.
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
