<?php
// Installs WordPress into an empty database.
define('WP_INSTALLING', true);
$_SERVER['HTTP_HOST'] = getenv('DOMAIN');
require '/usr/share/wordpress/wp-load.php';
require ABSPATH . 'wp-admin/includes/upgrade.php';

if (!is_blog_installed()) {
    // It would tell the administrator by mail.
    add_filter('pre_wp_mail', '__return_false');
    wp_install(getenv('TITLE'), getenv('ADMIN_USER'), getenv('ADMIN_EMAIL'), true, '', recipe_secret('admin_password'));
    echo "setup: installed WordPress $wp_version\n";
}
