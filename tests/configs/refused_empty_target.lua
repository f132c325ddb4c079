-- The variable is not set: with the appended slash this would be the root directory.
-- expect: exit 255
-- expect: output refused_empty_target.lua:8: target is empty

sync {
    default.rsync,
    source = "/srv/place/www",
    target = os.getenv("BACKUP_DIRECTORY_THAT_IS_NOT_SET") or "",
}
