-- A check does none of this, and reports it.
-- expect: exit 0
-- expect: live 143
-- expect: creates var/started
-- expect: output not executed by -check: os.execute("mkdir -p /srv/place/copies")
-- expect: output not executed by -check: io.open("/srv/place/var/started")

os.execute("mkdir -p /srv/place/copies")

local file = io.open("/srv/place/var/started", "w")
file:write(os.date())
file:close()

local host = io.popen("echo www"):read("*l")

sync {
    default.rsync,
    source = "/srv/place/" .. host,
    target = "/srv/place/copies/" .. host,
}
