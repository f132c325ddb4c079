-- expect: exit 255
-- expect: output refused_delay_in_settings.lua:6: setting "delay" unknown. Hint: write delay in each sync{}, or -delay on the command line.

settings {
    logfile = "/srv/place/var/lsyncd.log",
    delay   = 1,
}

sync { default.rsync, source = "/srv/place/www", target = "/srv/place/mirror" }
