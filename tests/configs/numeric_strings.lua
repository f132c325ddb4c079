-- expect: exit 0
-- expect: live 143
-- expect: output delay    0.5 s, or 100 changes
-- expect: output statusFile /srv/place/var/status, every 15 s
-- expect: command rsync --delete -lts --timeout=90 --modify-window=-1 --max-delete=0 --stats -r /srv/place/www/ /srv/place/mirror/

settings {
    statusFile     = "/srv/place/var/status",
    statusInterval = "15",
    maxDelays      = "100",
}

sync {
    default.rsync,
    source = "/srv/place/www",
    target = "/srv/place/mirror",
    delay  = "0.5",
    rsync  = { timeout = "90" },
}
