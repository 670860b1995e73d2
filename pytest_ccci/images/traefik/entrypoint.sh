#!/bin/sh
# Options and traefik's own commands are for traefik; anything else is a program of its own.
set -e
if [ "${1#-}" != "$1" ]; then
    set -- traefik "$@"
fi
case "${1:-}" in
    healthcheck | version) set -- traefik "$@" ;;
esac
exec "$@"
