#!/bin/sh
# Keeps what rsync is told on its standard input.
tee -a /srv/place/var/lists | rsync "$@"
