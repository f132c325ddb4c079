-- The last one wins, and that is told.
-- expect: exit 0
-- expect: live 143
-- expect: says keys_written_twice.lua:15: exclude is written again, it stands in line 13 already
-- expect: says keys_written_twice.lua:17: compress is written again, it stands in line 16 already
-- expect: leaves out cache/old
-- expect: lacks exclude  *.tmp
-- expect: words rsync --exclude-from=- --delete -lts --modify-window=-1 --max-delete=0 --stats -r /srv/place/www/ /srv/place/mirror/

sync {
    default.rsync,
    source  = "/srv/place/www",
    exclude = { "*.tmp" },
    target  = "/srv/place/mirror",
    exclude = { "cache" },
    rsync   = { compress = true,
                compress = false },
}
