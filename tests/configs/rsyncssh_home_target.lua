-- A tilde is expanded on the remote side, and a global limit does not affect syncs over ssh.
-- expect: exit 0
-- expect: output target   ann@laptop.example.net:~/projects/
-- expect: output maxProcesses 8
-- expect: command rsync --exclude-from=- --delete -lts --timeout=300 --modify-window=-1 --max-delete=0 --stats -r /srv/place/home/ ann@laptop.example.net:projects/

settings {
    maxProcesses = 8,
    maxDelays    = 200,
}

sync {
    default.rsyncssh,
    source    = "/srv/place/home",
    host      = "ann@laptop.example.net",
    targetdir = "~/projects",
    exclude   = { "node_modules", "target", ".venv" },
}
