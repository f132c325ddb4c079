-- expect: exit 255
-- expect: output setting "insisit" unknown. Did you mean "insist"?

settings { insisit = true }

sync { default.rsync, source = "/srv/place/www", target = "/srv/place/mirror" }
