-- expect: exit 255
-- expect: output Nothing to watch!

settings {
    logfile = "/srv/place/var/lsyncd.log",
}

-- sync { default.rsync, source = "/srv/place/www", target = "/srv/place/mirror" }
