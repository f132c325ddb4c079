-- expect: exit 0
-- expect: command rsync --delete -ltspgozD '--rsh=ssh -i /srv/place/etc/id_ed25519 -o IdentitiesOnly=yes -o User=mirror -p 2222 -T' --timeout=300 --modify-window=-1 --max-delete=0 --stats -r /srv/place/www/ backup.example.net:/srv/backup/www/
-- expect: output insist   yes

settings {
    logfile = "/srv/place/var/lsyncd.log",
    insist  = true,
}

sync {
    default.rsyncssh,
    source    = "/srv/place/www",
    host      = "backup.example.net",
    targetdir = "/srv/backup/www",
    delay     = 10,
    rsync     = {
        archive  = true,
        compress = true,
        verbose  = false,
    },
    ssh = {
        identityFile = "/srv/place/etc/id_ed25519",
        port         = 2222,
        options      = { User = "mirror", IdentitiesOnly = "yes" },
        _extra       = { "-T" },
    },
}
