-- expect: exit 0
-- expect: live 143
-- expect: output lsyncd: runs in the foreground
-- expect: output logfile  /srv/place/var/second.log
-- expect: output statusFile /srv/place/var/status, every 4 s
-- expect: output insist   yes

settings { "nodaemon", logfile = "/srv/place/var/first.log" }
settings { statusFile = "/srv/place/var/status", statusIntervall = 4 }
settings.logfile = "/srv/place/var/second.log"
settings.insist = settings("nodaemon")

sync {
    default.rsync,
    source = "/srv/place/www",
    target = "/srv/place/mirror",
}
