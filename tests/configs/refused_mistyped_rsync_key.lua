-- expect: exit 255
-- expect: output Parameter "rsync.whole_files" unknown.
-- expect: output Did you mean "whole_file"?

sync {
    default.rsync,
    source = "/srv/place/www",
    target = "/srv/place/mirror",
    rsync  = { whole_files = true },
}
