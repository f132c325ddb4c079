-- expect: exit 0
-- expect: live 143
-- expect: command rsync --delete --modify-window=-1 --max-delete=0 --stats -r /srv/place/www/ /srv/place/mirror/

sync {
    { rsync = { links = false, times = false, protect_args = false } },
    default.rsync,
    source = "/srv/place/www",
    target = "/srv/place/mirror",
}
