#!/bin/bash
# Dumps the database into its volume before a backup, and reads the dump back after a restore.
set -euo pipefail

FILE=/var/lib/postgresql/data/backup.sql

sql() {
    psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$@"
}

backup() {
    pg_dump --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" --file "$FILE.part"
    mv "$FILE.part" "$FILE"
}

restore() {
    test -s "$FILE"
    sql postgres --command "DROP DATABASE IF EXISTS \"$POSTGRES_DB\" WITH (FORCE)"
    sql postgres --command "CREATE DATABASE \"$POSTGRES_DB\""
    sql "$POSTGRES_DB" --single-transaction --output /dev/null --file "$FILE"
}

case "${1:-}" in
    backup | restore) "$1" ;;
    *) echo "usage: $0 backup|restore" >&2; exit 2 ;;
esac
