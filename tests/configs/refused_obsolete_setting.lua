-- expect: exit 255
-- expect: output setting "stubborn" unknown. Hint: write insist = true.

settings { "stubborn" }

sync { default.rsync, source = "/srv/place/www", target = "/srv/place/mirror" }
