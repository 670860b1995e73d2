#!/bin/sh
# Hands the server its secret, which it takes from its environment only, and puts back what a restore brought.
set -eu

ACTUAL_OPENID_CLIENT_SECRET=$(cat /run/secrets/openid_secret)
export ACTUAL_OPENID_CLIENT_SECRET

mkdir -p "$ACTUAL_DATA_DIR"
node /sqlite_backup.cjs put-back
exec "$@"
