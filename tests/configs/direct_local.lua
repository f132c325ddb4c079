-- expect: exit 0
-- expect: live 143
-- expect: output copied by lsyncd itself, without rsync
-- expect: excluded scratch.tmp

settings {
    logfile    = "/srv/place/var/lsyncd.log",
    statusFile = "/srv/place/var/status",
    inotifyMode = "CloseWrite or Modify",
}

sync {
    default.direct,
    source  = "/srv/place/www",
    target  = "/srv/place/mirror",
    exclude = { "*.tmp" },
}
