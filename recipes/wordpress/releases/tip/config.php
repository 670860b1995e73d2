<?php
// Read by Debian's wp-config.php.
function recipe_secret($name) {
    return trim(file_get_contents("/run/secrets/$name"));
}

define('DB_HOST', 'db');
define('DB_NAME', 'wordpress');
define('DB_USER', 'wordpress');
define('DB_PASSWORD', recipe_secret('db_password'));
define('DB_CHARSET', 'utf8mb4');

foreach (['AUTH_KEY', 'SECURE_AUTH_KEY', 'LOGGED_IN_KEY', 'NONCE_KEY',
          'AUTH_SALT', 'SECURE_AUTH_SALT', 'LOGGED_IN_SALT', 'NONCE_SALT'] as $name) {
    define($name, hash_hmac('sha256', $name, recipe_secret('auth_key')));
}

define('WP_HOME', 'https://' . getenv('DOMAIN'));
define('WP_SITEURL', WP_HOME);
define('WP_HTTP_BLOCK_EXTERNAL', getenv('BLOCK_EXTERNAL') === '1');
define('WP_DEFAULT_THEME', 'twentytwentythree');
define('DONT_SET_WP_CONTENT_DIR', true);
define('WP_POST_REVISIONS', (int) getenv('POST_REVISIONS'));
define('DISALLOW_FILE_MODS', true);
