-- expect: exit 0
-- expect: live 143
-- expect: command rsync --delete -ltsv --omit-dir-times --no-perms --whole-file --modify-window=-1 --max-delete=0 --stats -r /srv/place/www/ /srv/place/mirror/

sync {
    default.rsync,
    source = "/srv/place/www",
    target = "/srv/place/mirror",
    rsync  = {
        verbose = true,
        _extra  = { "--omit-dir-times", "--no-perms", "--whole-file" },
    },
}
