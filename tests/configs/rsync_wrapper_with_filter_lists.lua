-- A script that reads the list of changes in the original's format.
-- expect: exit 0
-- expect: live 143
-- expect: creates var/lists
-- expect: command /srv/place/etc/rsync-and-note.sh -lts --modify-window=-1 --ignore-times -r --delete --from0 --include-from=- '--exclude=*' /srv/place/www/ /srv/place/mirror/
-- with: rsync-and-note.sh

sync {
    default.rsync,
    source   = "/srv/place/www",
    target   = "/srv/place/mirror",
    listForm = "filter",
    rsync    = { binary = "/srv/place/etc/rsync-and-note.sh" },
}
