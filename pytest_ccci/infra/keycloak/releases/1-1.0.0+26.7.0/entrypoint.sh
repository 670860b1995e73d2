#!/bin/bash
set -eu

KC_BOOTSTRAP_ADMIN_PASSWORD=$(</run/secrets/admin_password)
KC_DB_PASSWORD=$(</run/secrets/db_password)
export KC_BOOTSTRAP_ADMIN_PASSWORD KC_DB_PASSWORD

# Without its database Keycloak exits, and its restart costs more than waiting here.
# While Postgres makes its cluster it listens on no address, so that an open port means the real server.
until (exec 3<>"/dev/tcp/$KC_DB_URL_HOST/5432") 2>/dev/null; do
  sleep 0.2
done

exec /opt/keycloak/bin/kc.sh start
