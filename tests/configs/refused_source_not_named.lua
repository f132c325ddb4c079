-- expect: exit 255
-- expect: says refused_source_not_named.lua:4: source missing from sync.

sync { default.rsync, target = "/srv/place/mirror", sourcedir }
