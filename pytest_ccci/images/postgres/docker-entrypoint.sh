#!/bin/bash
# Makes the database cluster on first start, as POSTGRES_* say, then becomes the server.
set -euo pipefail

die() {
    echo "docker-entrypoint: $*" >&2
    exit 1
}

# from_file NAME DEFAULT: NAME from the environment, or the content of the file that NAME_FILE names.
from_file() {
    local name=$1 file="$1_FILE" value="${2:-}"
    if [ -n "${!name:-}" ] && [ -n "${!file:-}" ]; then
        die "$name and $file exclude each other"
    fi
    if [ -n "${!file:-}" ]; then
        value=$(< "${!file}")
    elif [ -n "${!name:-}" ]; then
        value=${!name}
    fi
    export "$name=$value"
    unset "$file"
}

own_directories() {
    mkdir -p "$PGDATA" /var/run/postgresql
    chmod 700 "$PGDATA" || true
    chmod 2775 /var/run/postgresql || true
    if [ "$(id -u)" = 0 ]; then
        find "$PGDATA" /var/run/postgresql \! -user postgres -exec chown postgres '{}' +
    fi
}

query() {
    PGHOST='' PGHOSTADDR='' psql -v ON_ERROR_STOP=1 --no-password --no-psqlrc --username "$POSTGRES_USER" "$@"
}

init_script() {
    case "$1" in
        *.sh)
            echo "docker-entrypoint: running $1"
            if [ -x "$1" ]; then "$1"; else . "$1"; fi
            ;;
        *.sql) query --dbname "$POSTGRES_DB" -f "$1" ;;
        *.sql.gz) gunzip -c "$1" | query --dbname "$POSTGRES_DB" ;;
        *) echo "docker-entrypoint: ignoring $1" ;;
    esac
}

init_cluster() {
    if [ -z "$POSTGRES_PASSWORD" ] && [ "${POSTGRES_HOST_AUTH_METHOD:-}" != trust ]; then
        die "the database is empty and POSTGRES_PASSWORD is not set (nor POSTGRES_HOST_AUTH_METHOD=trust)"
    fi
    local args=()
    eval "args=(${POSTGRES_INITDB_ARGS:-})"
    [ -z "${POSTGRES_INITDB_WALDIR:-}" ] || args+=(--waldir "$POSTGRES_INITDB_WALDIR")
    initdb -E UTF8 --username="$POSTGRES_USER" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") "${args[@]}"
    local method
    method=${POSTGRES_HOST_AUTH_METHOD:-$(postgres -C password_encryption "${@:2}" 2>/dev/null || echo scram-sha-256)}
    printf '\nhost all all all %s\n' "$method" >> "$PGDATA/pg_hba.conf"
}

first_start() {
    init_cluster "$@"
    # Only on the socket: nobody must take a half-made database for a ready one.
    PGUSER=$POSTGRES_USER pg_ctl -D "$PGDATA" -w -s -o "-c listen_addresses='' -p ${PGPORT:-5432}" start
    if [ "$POSTGRES_DB" != postgres ]; then
        echo 'CREATE DATABASE :"db";' | query --dbname postgres --set db="$POSTGRES_DB"
    fi
    local script
    for script in /docker-entrypoint-initdb.d/*; do
        [ ! -e "$script" ] || init_script "$script"
    done
    PGUSER=$POSTGRES_USER pg_ctl -D "$PGDATA" -m fast -w -s stop
    echo 'docker-entrypoint: the database is made'
}

main() {
    [ "${1:0:1}" != - ] || set -- postgres "$@"
    if [ "$1" = postgres ]; then
        own_directories
        if [ "$(id -u)" = 0 ]; then
            exec gosu postgres "${BASH_SOURCE[0]}" "$@"
        fi
        if [ ! -s "$PGDATA/PG_VERSION" ]; then
            from_file POSTGRES_PASSWORD
            from_file POSTGRES_USER postgres
            from_file POSTGRES_DB "$POSTGRES_USER"
            from_file POSTGRES_INITDB_ARGS
            export PGPASSWORD=$POSTGRES_PASSWORD
            first_start "$@"
            unset PGPASSWORD
        fi
    fi
    exec "$@"
}

main "$@"
