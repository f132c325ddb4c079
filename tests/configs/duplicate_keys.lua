-- The last one applies, and a warning is printed.
-- expect: exit 0
-- expect: live 143
-- expect: output duplicate_keys.lua:15: exclude is written again, it stands in line 13 already
-- expect: output duplicate_keys.lua:17: compress is written again, it stands in line 16 already
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
