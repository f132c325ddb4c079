-- expect: exit 0
-- expect: output target   backup.example.net:/srv/backup/www/
-- expect: command rsync --delete -lts --timeout=300 --modify-window=-1 --max-delete=0 --stats -r /srv/place/www/ backup.example.net:/srv/backup/www/
-- expect: no-output _extra

sync {
    default.rsyncssh,
    source    = "/srv/place/www",
    host      = "backup.example.net",
    targetdir = "/srv/backup/www",
}
