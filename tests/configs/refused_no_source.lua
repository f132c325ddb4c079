-- expect: exit 255
-- expect: output refused_no_source.lua:4: source missing from sync.

sync { default.rsync, target = "/srv/place/mirror", sourcedir }
