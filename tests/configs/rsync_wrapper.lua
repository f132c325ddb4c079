-- A script in place of rsync runs a command after each transfer.
-- expect: exit 0
-- expect: live 143
-- expect: creates var/reloads
-- expect: command /srv/place/etc/rsync-and-reload.sh --delete -lts --modify-window=-1 --max-delete=0 --stats -r /srv/place/www/ /srv/place/mirror/
-- with: rsync-and-reload.sh

settings { statusFile = "/srv/place/var/status" }

sync {
    default.rsync,
    source = "/srv/place/www",
    target = "/srv/place/mirror",
    delay  = 1,
    rsync  = { binary = "/srv/place/etc/rsync-and-reload.sh" },
}
