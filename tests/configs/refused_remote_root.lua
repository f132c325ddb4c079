-- expect: exit 255
-- expect: output the target 'backup.example.net:/./' is the root directory of the remote host

sync {
    default.rsyncssh,
    source    = "/srv/place/www",
    host      = "backup.example.net",
    targetdir = "/.",
}
