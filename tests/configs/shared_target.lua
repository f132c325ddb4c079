-- expect: exit 0
-- expect: not live, the two delete what the other one brings
-- expect: output Sync1 and Sync2 have the same target /srv/place/mirror/: each deletes the other's files

sync { default.rsync, source = "/srv/place/www",  target = "/srv/place/mirror" }
sync { default.rsync, source = "/srv/place/home", target = "/srv/place/mirror/" }
