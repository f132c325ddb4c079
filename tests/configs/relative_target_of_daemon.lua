-- expect: exit 0
-- expect: not live, it would write below the root directory
-- expect: output the target 'mirror/' is relative: a daemon runs in /, so it means '/mirror/'

sync {
    default.rsync,
    source = "www",
    target = "mirror",
}
