#!/bin/sh
# Archiver for all targets.
unset LD_LIBRARY_PATH
exec "$CROSS_ZIG" ar "$@"
