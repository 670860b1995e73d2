#!/bin/bash
set -euo pipefail

export PGUSER=$POSTGRES_USER PGDATABASE=$POSTGRES_DB
file=/var/lib/postgresql/data/backup.sql

case "$1" in
  backup)
    pg_dump --clean --if-exists --file="$file"
    ;;
  restore)
    psql --quiet --set=ON_ERROR_STOP=1 --single-transaction --file="$file"
    rm -f "$file"
    ;;
  *)
    echo "usage: $0 backup|restore" >&2
    exit 2
    ;;
esac
