-- A tilde is for the other side, and a limit for all syncs leaves those by ssh their own.
-- expect: exit 0
-- expect: says target   ann@laptop.example.net:~/work/
-- expect: says maxProcesses 8
-- expect: words rsync --exclude-from=- --delete -lts --timeout=300 --modify-window=-1 --max-delete=0 --stats -r /srv/place/home/ ann@laptop.example.net:work/

settings {
    maxProcesses = 8,
    maxDelays    = 200,
}

sync {
    default.rsyncssh,
    source    = "/srv/place/home",
    host      = "ann@laptop.example.net",
    targetdir = "~/work",
    exclude   = { "node_modules", "target", ".venv" },
}
