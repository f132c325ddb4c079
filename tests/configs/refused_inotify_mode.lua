-- expect: exit 255
-- expect: output 'Close Write' not a valid inotfiyMode.

settings { inotifyMode = "Close Write" }

sync { default.rsync, source = "/srv/place/www", target = "/srv/place/mirror" }
