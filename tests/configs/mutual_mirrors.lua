-- expect: exit 0
-- expect: not live, each change would go round and round
-- expect: output Sync1 and Sync2 mirror each other: each change goes round and round

sync { default.rsync, source = "/srv/place/www",  target = "/srv/place/home", delete = false }
sync { default.rsync, source = "/srv/place/home", target = "/srv/place/www",  delete = false }
