-- Transferred files are removed from the source, and would then be deleted on the target.
-- expect: exit 255
-- expect: output refused_remove_source_files.lua:10: rsync._extra has --remove-source-files while delete is on

sync {
    default.rsync,
    source = "/srv/place/www",
    target = "/srv/place/mirror",
    rsync  = {
        _extra = { "--remove-source-files" },
    },
}
