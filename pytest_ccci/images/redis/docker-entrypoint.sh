#!/bin/sh
# redis-server runs as user redis on /data, open to the container's network.
set -e
case "${1:-}" in
    -* | *.conf) set -- redis-server "$@" ;;
esac
if [ "${1:-}" != redis-server ]; then
    exec "$@"
fi
shift
# A configuration file comes first; without one, or beside one, the command line decides.
file=
case "${1:-}" in
    '' | -*) ;;
    *) file=$1; shift ;;
esac
set -- redis-server ${file:+"$file"} --protected-mode no "$@"
if [ "$(id -u)" = 0 ]; then
    find . \! -user redis -exec chown redis:redis '{}' +
    exec gosu redis "$@"
fi
exec "$@"
