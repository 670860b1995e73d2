#!/bin/sh
# What is played on another generation of Docker, inside of ownengine.py: sh ownengine.sh [what pytest is told]
set -eu
ccci setup
ccci doctor || true # it has notes of this machine, too; shown beside the results
pytest --cold --ccci-ref latest recipes/lasuite-docs
pytest --quick recipes/lasuite-docs
pytest -n 2 --dist loadgroup --no-loadscope-reorder -m "not alone and not full" "$@"
status=0
pytest -m "alone and not full" "$@" || status=$?
[ "$status" = 5 ] || exit "$status" # 5: none of them must be alone
