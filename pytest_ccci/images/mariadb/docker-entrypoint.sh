#!/bin/bash
# Makes the database on first start, as MARIADB_* (or MYSQL_*) say, then becomes the server.
set -euo pipefail

DATA=/var/lib/mysql
SOCKET=/run/mysqld/mysqld.sock

die() {
    echo "docker-entrypoint: $*" >&2
    exit 1
}

# own NAME: what MARIADB_NAME or MYSQL_NAME say, or the files of their _FILE.
own() {
    local name file
    for name in "MARIADB_$1" "MYSQL_$1"; do
        file=${name}_FILE
        if [ -n "${!name:-}" ] && [ -n "${!file:-}" ]; then
            die "$name and $file exclude each other"
        elif [ -n "${!name:-}" ]; then
            printf '%s' "${!name}"
            return
        elif [ -n "${!file:-}" ]; then
            cat -- "${!file}"
            return
        fi
    done
}

quoted() { # as a string in SQL
    local text=${1//\\/\\\\} quote="'"
    printf "'%s'" "${text//$quote/$quote$quote}"
}

query() { # over the socket, as who administers; further arguments are the client's
    MYSQL_PWD=${made_password:-} mariadb --protocol=socket --socket="$SOCKET" -uroot "$@"
}

init_script() {
    case "$1" in
        *.sh)
            echo "docker-entrypoint: running $1"
            if [ -x "$1" ]; then "$1"; else . "$1"; fi
            ;;
        *.sql) query ${database:+"$database"} < "$1" ;;
        *.sql.gz) gunzip -c "$1" | query ${database:+"$database"} ;;
        *) echo "docker-entrypoint: ignoring $1" ;;
    esac
}

accounts() { # root from everywhere, and the app's own user for its own database
    local tick='`'
    local name=$tick${database//$tick/$tick$tick}$tick
    [ -z "$root_password" ] || echo "ALTER USER root@localhost IDENTIFIED BY $(quoted "$root_password");"
    echo "CREATE USER root@'%' IDENTIFIED BY $(quoted "$root_password");"
    echo "GRANT ALL ON *.* TO root@'%' WITH GRANT OPTION;"
    [ -z "$database" ] || echo "CREATE DATABASE $name;"
    if [ -n "$user" ]; then
        echo "CREATE USER $(quoted "$user")@'%' IDENTIFIED BY $(quoted "$password");"
        [ -z "$database" ] || echo "GRANT ALL ON $name.* TO $(quoted "$user")@'%';"
    fi
}

first_start() {
    local root_password database user password server script
    root_password=$(own ROOT_PASSWORD)
    database=$(own DATABASE)
    user=$(own USER)
    password=$(own PASSWORD)
    if [ -z "$root_password" ] && [ -n "$(own RANDOM_ROOT_PASSWORD)" ]; then
        root_password=$(head -c 24 /dev/urandom | base64)
        echo "docker-entrypoint: GENERATED ROOT PASSWORD: $root_password"
    fi
    [ -n "$root_password$(own ALLOW_EMPTY_ROOT_PASSWORD)$(own ALLOW_EMPTY_PASSWORD)" ] ||
        die "the database is empty and MARIADB_ROOT_PASSWORD is not set (nor MARIADB_RANDOM_ROOT_PASSWORD=1)"
    mariadb-install-db --datadir="$DATA" --auth-root-authentication-method=normal --skip-test-db >/dev/null
    # Only on the socket: nobody must take a half-made database for a ready one.
    "$@" --skip-networking --socket="$SOCKET" &
    server=$!
    until mariadb-admin --protocol=socket --socket="$SOCKET" -uroot ping >/dev/null 2>&1; do
        kill -0 "$server" || die "the server does not start"
        sleep 0.1
    done
    accounts | query
    made_password=$root_password
    for script in /docker-entrypoint-initdb.d/*; do
        [ ! -e "$script" ] || init_script "$script"
    done
    MYSQL_PWD=$root_password mariadb-admin --protocol=socket --socket="$SOCKET" -uroot shutdown
    wait "$server"
    echo 'docker-entrypoint: the database is made'
}

main() {
    [ "${1:0:1}" != - ] || set -- mariadbd "$@"
    if [ "$1" = mysqld ] || [ "$1" = mariadbd ]; then
        if [ "$(id -u)" = 0 ]; then
            mkdir -p "$DATA" /run/mysqld
            find "$DATA" /run/mysqld \! -user mysql -exec chown mysql:mysql '{}' +
            exec gosu mysql "${BASH_SOURCE[0]}" "$@"
        fi
        [ -d "$DATA/mysql" ] || first_start "$@"
    fi
    exec "$@"
}

main "$@"
