-- A script that reads the list of what changed, in the form that it always had.
-- expect: exit 0
-- expect: live 143
-- expect: makes var/lists
-- expect: words /srv/place/etc/rsync-and-note.sh -lts --modify-window=-1 --ignore-times -r --delete --from0 --include-from=- '--exclude=*' /srv/place/www/ /srv/place/mirror/
-- with: rsync-and-note.sh

sync {
    default.rsync,
    source   = "/srv/place/www",
    target   = "/srv/place/mirror",
    listForm = "filter",
    rsync    = { binary = "/srv/place/etc/rsync-and-note.sh" },
}
