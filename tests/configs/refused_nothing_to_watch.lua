-- expect: exit 255
-- expect: says Nothing to watch!

settings {
    logfile = "/srv/place/var/lsyncd.log",
}

-- sync { default.rsync, source = "/srv/place/www", target = "/srv/place/mirror" }
