-- expect: exit 0
-- expect: not live, an endless loop
-- expect: output Sync1 and Sync2 mirror each other: endless sync loop

sync { default.rsync, source = "/srv/place/www",  target = "/srv/place/home", delete = false }
sync { default.rsync, source = "/srv/place/home", target = "/srv/place/www",  delete = false }
