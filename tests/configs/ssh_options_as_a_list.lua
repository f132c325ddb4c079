-- expect: exit 0
-- expect: output ssh.options has "Compression=yes" without a name
-- expect: output identityFile: cannot find /srv/place/etc/key
-- expect: command rsync --delete -lts '--rsh=ssh -i /srv/place/etc/key -o Compression=yes' --timeout=300 --modify-window=-1 --max-delete=0 --stats -r /srv/place/www/ backup.example.net:www/

sync {
    default.rsyncssh,
    source    = "/srv/place/www",
    host      = "backup.example.net",
    targetdir = "www",
    ssh       = {
        identityFile = "/srv/place/etc/key",
        options      = { "Compression=yes" },
    },
}
