-- expect: exit 0
-- expect: output Sync1: default.rsyncssh
-- expect: command rsync --delete -lts --rsh=/usr/bin/ssh --timeout=300 --modify-window=-1 --max-delete=0 --stats -r /srv/place/www/ web.example.net:./

settings { insist = true }

sync {
    default.rsyncssh,
    source    = "/srv/place/www",
    host      = "web.example.net",
    targetdir = ".",
    onMove    = true,
    maxProcesses = 1,
    rsyncExitCodes = { [0] = "ok", [23] = "ok", [24] = "ok", [255] = "again" },
    ssh       = { binary = "/usr/bin/ssh" },
}
