-- The last one applies, and a warning is printed.
-- expect: exit 0
-- expect: live 143
-- expect: output duplicate_keys.lua:15: duplicate key exclude, first set in line 13
-- expect: output duplicate_keys.lua:17: duplicate key compress, first set in line 16
-- expect: excluded cache/old
-- expect: no-output exclude  *.tmp
-- expect: command rsync --exclude-from=- --delete -lts --modify-window=-1 --max-delete=0 --stats -r /srv/place/www/ /srv/place/mirror/

sync {
    default.rsync,
    source  = "/srv/place/www",
    exclude = { "*.tmp" },
    target  = "/srv/place/mirror",
    exclude = { "cache" },
    rsync   = { compress = true,
                compress = false },
}
