-- One source and several web servers.
-- expect: exit 0
-- expect: output Sync3: default.rsync
-- expect: output target   web-c.example.net:/var/www/html/
-- expect: output Sync1, Sync2, Sync3: the target is remote and insist is not set
-- expect: command rsync --exclude-from=- --delete -ltspgozD --timeout=300 --modify-window=-1 --max-delete=0 --stats -r /srv/place/www/ web-a.example.net:/var/www/html/
-- expect: command rsync '--exclude=*.tmp' --exclude=.git --exclude=/cache/ -ltspgozD --timeout=300 --modify-window=-1 --ignore-times --delete --stats --from0 --files-from=- --delete-missing-args /srv/place/www/ web-b.example.net:/var/www/html/.

local webservers = {
    "web-a.example.net",
    "web-b.example.net",
    "web-c.example.net",
}

settings {
    logfile    = "/srv/place/var/lsyncd.log",
    statusFile = "/srv/place/var/lsyncd-status.log",
    insist     = false,
    maxProcesses = 3,
}

for _, server in ipairs(webservers) do
    sync {
        default.rsync,
        source  = "/srv/place/www",
        target  = server .. ":/var/www/html",
        exclude = { "*.tmp", ".git", "/cache/" },
        delay   = 5,
        rsync   = {
            archive  = true,
            compress = true,
        },
    }
end
