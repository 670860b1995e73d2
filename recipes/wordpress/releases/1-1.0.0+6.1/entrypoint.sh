#!/bin/sh
set -eu

chown www-data: /usr/share/wordpress/wp-content/uploads

until php -r 'new mysqli("db", "wordpress", trim(file_get_contents("/run/secrets/db_password")), "wordpress");' 2>/dev/null; do
    echo "entrypoint: waiting for the database"
    sleep 1
done
php /setup.php

exec apache2-foreground
