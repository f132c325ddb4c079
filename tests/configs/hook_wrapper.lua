-- Whatever has to be done after a transfer is done by a script in the place of rsync.
-- expect: exit 0
-- expect: live 143
-- expect: makes var/reloads
-- expect: words /srv/place/etc/rsync-and-reload.sh --delete -lts --modify-window=-1 --max-delete=0 --stats -r /srv/place/www/ /srv/place/mirror/
-- with: rsync-and-reload.sh

settings { statusFile = "/srv/place/var/status" }

sync {
    default.rsync,
    source = "/srv/place/www",
    target = "/srv/place/mirror",
    delay  = 1,
    rsync  = { binary = "/srv/place/etc/rsync-and-reload.sh" },
}
