-- A table with selected functions of a default.
-- expect: exit 0
-- expect: live 143
-- expect: output Sync1: default.rsync
-- expect: output delete   never
-- expect: command rsync -ltsp --modify-window=-1 --stats -r /srv/place/www/ /srv/place/mirror/

local mirror = {
    action     = default.rsync.action,
    init       = default.rsync.init,
    prepare    = default.rsync.prepare,
    checkgauge = default.rsync.checkgauge,
    exitcodes  = default.rsync.exitcodes,
    delete     = false,
    rsync      = { links = true, times = true, protect_args = true, perms = true },
}

sync {
    mirror,
    source = "/srv/place/www",
    target = "/srv/place/mirror",
}
