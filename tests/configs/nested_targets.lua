-- expect: exit 0
-- expect: not live, the one deletes what the other one brings
-- expect: output Sync2: its target is inside the target /srv/place/mirror/ of Sync1, which would delete it: exclude /people there

sync { default.rsync, source = "/srv/place/www",  target = "/srv/place/mirror" }
sync { default.rsync, source = "/srv/place/home", target = "/srv/place/mirror/people" }
