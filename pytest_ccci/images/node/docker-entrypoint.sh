#!/bin/sh
# Options, and words that are no program, are for node.
set -e
if [ "${1#-}" != "$1" ] || ! command -v "$1" >/dev/null 2>&1 || [ -f "$1" ] && [ ! -x "$1" ]; then
    set -- node "$@"
fi
exec "$@"
