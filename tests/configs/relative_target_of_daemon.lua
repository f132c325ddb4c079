-- expect: exit 0
-- expect: not live, it would write below the root directory
-- expect: output the target 'mirror/' is relative: a daemon works in /, so it is '/mirror/'

sync {
    default.rsync,
    source = "www",
    target = "mirror",
}
