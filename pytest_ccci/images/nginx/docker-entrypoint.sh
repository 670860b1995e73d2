#!/bin/sh
# Before nginx starts: templates are filled from the environment, scripts of /docker-entrypoint.d are run.
set -e
fill_templates() {
    [ -d /etc/nginx/templates ] || return 0
    # Only variables that exist: nginx has variables of its own that look the same.
    known=$(env | sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/${\1}/p' | tr '\n' ' ')
    find -L /etc/nginx/templates -type f -name '*.template' | sort | while read -r template; do
        target=/etc/nginx/conf.d/${template#/etc/nginx/templates/}
        target=${target%.template}
        mkdir -p "$(dirname "$target")"
        envsubst "$known" < "$template" > "$target"
    done
}
if [ "${1:-}" = nginx ] || [ "${1:-}" = nginx-debug ]; then
    fill_templates
    for script in /docker-entrypoint.d/*; do
        case "$script" in
            *.envsh) [ -x "$script" ] && . "$script" ;;
            *.sh) [ -x "$script" ] && "$script" ;;
        esac
    done
fi
exec "$@"
