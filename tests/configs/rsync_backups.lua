-- Replaced and deleted files are kept for a while.
-- expect: exit 0
-- expect: live 143
-- expect: command rsync --exclude-from=- --delete -ltspgobD --backup-dir=/srv/place/old --suffix=.kept --modify-window=-1 --max-delete=0 --stats -r /srv/place/www/ /srv/place/mirror/
-- mkdir: old

sync {
    default.rsync,
    source  = "/srv/place/www",
    target  = "/srv/place/mirror",
    exclude = { "lost+found" },
    rsync   = {
        archive    = true,
        backup     = true,
        backup_dir = "/srv/place/old",
        suffix     = ".kept",
    },
}
