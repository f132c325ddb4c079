-- expect: exit 0
-- expect: live 143
-- expect: leaves out scratch.tmp .git/config
-- expect: says exclude  .git/
-- expect: words rsync --exclude-from=- --delete -ltspgoD --modify-window=-1 --max-delete=0 --stats -r /srv/place/home/ /srv/place/copies/home/
-- make: copies

careful = {
    default.rsync,
    delay   = 2,
    exclude = { "*.tmp" },
    rsync   = { archive = true },
}

hasty = { careful, delay = 0.2 }

sync { careful, source = "/srv/place/www",  target = "/srv/place/copies/www",  exclude = { ".git/" } }
sync { hasty,   source = "/srv/place/home", target = "/srv/place/copies/home", exclude = { ".git" } }
