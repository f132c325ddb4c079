-- expect: exit 0
-- expect: live 143
-- expect: excluded scratch.tmp .git/config
-- expect: output exclude  .git/
-- expect: command rsync --exclude-from=- --delete -ltspgoD --modify-window=-1 --max-delete=0 --stats -r /srv/place/home/ /srv/place/copies/home/
-- mkdir: copies

careful = {
    default.rsync,
    delay   = 2,
    exclude = { "*.tmp" },
    rsync   = { archive = true },
}

hasty = { careful, delay = 0.2 }

sync { careful, source = "/srv/place/www",  target = "/srv/place/copies/www",  exclude = { ".git/" } }
sync { hasty,   source = "/srv/place/home", target = "/srv/place/copies/home", exclude = { ".git" } }
