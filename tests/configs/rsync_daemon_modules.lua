-- Two modules of an rsync daemon, in both notations.
-- expect: exit 0
-- expect: output target   mirror@store.example.net::www/
-- expect: output target   rsync://mirror@store.example.net/home/
-- expect: command rsync --delete -lts --bwlimit=2000 --password-file=/srv/place/etc/rsync.secret --timeout=300 --contimeout=60 --modify-window=-1 --max-delete=0 --stats -r /srv/place/www/ mirror@store.example.net::www/

local common = {
    default.rsync,
    delay = 3,
    rsync = {
        password_file = "/srv/place/etc/rsync.secret",
        bwlimit       = 2000,
    },
}

sync { common, source = "/srv/place/www",  target = "mirror@store.example.net::www" }
sync { common, source = "/srv/place/home", target = "rsync://mirror@store.example.net/home" }
