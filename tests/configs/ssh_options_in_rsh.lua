-- expect: exit 0
-- expect: command rsync --delete -ltspz '--rsh=/usr/bin/ssh -p 2222 -i /srv/place/etc/id_ed25519 -o StrictHostKeyChecking=no' --timeout=300 --modify-window=-1 --max-delete=0 --stats -r /srv/place/www/ deploy@web.example.net:/srv/www/

sync {
    default.rsync,
    source = "/srv/place/www",
    target = "deploy@web.example.net:/srv/www/",
    rsync  = {
        compress = true,
        perms    = true,
        rsh      = "/usr/bin/ssh -p 2222 -i /srv/place/etc/id_ed25519 -o StrictHostKeyChecking=no",
    },
}
