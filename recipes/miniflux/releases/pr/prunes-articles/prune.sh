#!/bin/bash
# Once a day, removes the articles that are older than KEEP_DAYS days.
set -euo pipefail

PGPASSWORD=$(cat /run/secrets/db_password)
export PGPASSWORD

while true; do
    if psql --quiet --no-psqlrc --host db --username miniflux --dbname miniflux \
        --command "DELETE FROM entries WHERE published_at < now() - interval '$KEEP_DAYS days'"; then
        touch /tmp/pruned
        sleep 86400
    fi
    sleep 2
done
