-- The classical backup of a machine: the target lies in the source, and a rule leaves it out.
-- make: www/mnt/backup
-- expect: exit 0
-- expect: lacks Warning
-- expect: live 143

sync {
    default.rsync,
    source  = "/srv/place/www",
    target  = "/srv/place/www/mnt/backup",
    exclude = { "/mnt" },
}
