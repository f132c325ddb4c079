-- expect: exit 255
-- expect: output refused_syntax_error.lua:8: '}' expected (to close '{' at line 5) near 'target'
-- expect: no-output stack traceback

sync {
    default.rsync,
    source = "/srv/place/www"
    target = "/srv/place/mirror",
}
