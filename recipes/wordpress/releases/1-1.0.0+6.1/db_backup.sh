#!/bin/bash
# Dumps the database into its volume before a backup, and reads the dump back after a restore.
set -euo pipefail

FILE=/var/lib/mysql/backup.sql
MYSQL_PWD=$(cat "$MARIADB_PASSWORD_FILE")
export MYSQL_PWD

backup() {
    mariadb-dump --user="$MARIADB_USER" --single-transaction --no-tablespaces --result-file="$FILE.part" "$MARIADB_DATABASE"
    mv "$FILE.part" "$FILE"
}

restore() {
    test -s "$FILE"
    mariadb --user="$MARIADB_USER" --execute="DROP DATABASE IF EXISTS $MARIADB_DATABASE; CREATE DATABASE $MARIADB_DATABASE"
    mariadb --user="$MARIADB_USER" "$MARIADB_DATABASE" <"$FILE"
}

case "${1:-}" in
    backup | restore) "$1" ;;
    *) echo "usage: $0 backup|restore" >&2; exit 2 ;;
esac
