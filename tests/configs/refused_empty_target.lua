-- The variable is not set: with the slash that is appended this is the root directory.
-- expect: exit 255
-- expect: says refused_empty_target.lua:8: target is empty

sync {
    default.rsync,
    source = "/srv/place/www",
    target = os.getenv("BACKUP_DIRECTORY_THAT_IS_NOT_SET") or "",
}
