#!/bin/sh
# Whether the server takes connections: over TCP, which it does not before the database is made.
# The tests of the official image's script (--connect, --innodb_initialized, ...) are all answered by this one.
exec mariadb-admin --host=127.0.0.1 --user=healthcheck --connect-timeout=2 ping
