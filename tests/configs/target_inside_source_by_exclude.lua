-- A typical backup of a machine: the target is inside the source and excluded by a rule.
-- mkdir: www/mnt/backup
-- expect: exit 0
-- expect: no-output Warning
-- expect: live 143

sync {
    default.rsync,
    source  = "/srv/place/www",
    target  = "/srv/place/www/mnt/backup",
    exclude = { "/mnt" },
}
