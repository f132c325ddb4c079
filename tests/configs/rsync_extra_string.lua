-- expect: exit 0
-- expect: live 143
-- expect: output rsync._extra is ignored: it must be a list, _extra = { ".." }
-- expect: command rsync --delete -lts --modify-window=-1 --max-delete=0 --stats -r /srv/place/www/ /srv/place/mirror/

sync {
    default.rsync,
    source = "/srv/place/www",
    target = "/srv/place/mirror",
    rsync  = { _extra = "--bwlimit=200" },
}
