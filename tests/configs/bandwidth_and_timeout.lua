-- expect: exit 0
-- expect: live 143
-- expect: command rsync --delete -lts --bwlimit=4096 --temp-dir=/srv/place/tmp --timeout=30 --modify-window=-1 --max-delete=0 --stats -r /srv/place/www/ /srv/place/mirror/
-- mkdir: tmp

local megabytes = 4

sync {
    default.rsync,
    source = "/srv/place/www",
    target = "/srv/place/mirror",
    rsync  = {
        bwlimit  = megabytes * 1024,
        timeout  = 60 / 2,
        temp_dir = "/srv/place/tmp",
    },
}
