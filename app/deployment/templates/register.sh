#!/bin/sh
# Tells the running server of the federation @federation which sites may connect. For one site: register.sh SITE
set -u
cd "$(dirname "$0")" || exit 2
. ./connect.sh
failed=""
for site in ${1:-@sites}; do
    if [ ! -f "sites/$site.pub" ]; then
        echo "there is no site $site; there are: @sites" >&2
        exit 2
    fi
    if ! "$VENV/bin/flwr" supernode register "sites/$site.pub" @federation --name "$site"; then
        failed="$failed $site"
    fi
done
if [ -n "$failed" ]; then
    echo "not registered now:$failed (a key that is in use has been registered before)" >&2
    exit 1
fi
