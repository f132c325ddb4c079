#!/bin/sh
# C compiler and linker for CROSS_ZIG_TARGET: zig, without the options that it does not know. The
# libraries in LD_LIBRARY_PATH are for rustc.
unset LD_LIBRARY_PATH
skip=
for argument; do
    shift
    if [ "$skip" ]; then
        skip=
        continue
    fi
    case $argument in
    --target=* | -mmacosx-version-min=*) ;;
    -arch | -isysroot) skip=1 ;;
    *) set -- "$@" "$argument" ;;
    esac
done
exec "$CROSS_ZIG" cc -target "$CROSS_ZIG_TARGET" -F"$CROSS_STUBS" -L"$CROSS_STUBS" "$@"
