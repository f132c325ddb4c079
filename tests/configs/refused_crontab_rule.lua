-- expect: exit 255
-- expect: output crontab rule "30 3 * * *" has 5 fields instead of 6

sync {
    default.rsync,
    source  = "/srv/place/www",
    target  = "/srv/place/mirror",
    crontab = { "30 3 * * *" },
}
