#!/bin/sh
# Tells the running server of the federation @federation which sites may connect. For one site: register.sh SITE
set -u
CDPATH= cd -- "$(dirname -- "$0")" || exit 2
. ./connect.sh
failed=""
for site in ${1:-@sites}; do
    if [ ! -f "sites/$site.pub" ]; then
        echo "there is no site $site; there are: @sites" >&2
        exit 2
    fi
    if said=$(flwr supernode register "sites/$site.pub" @federation --name "$site" 2>&1); then
        echo "$said"
        # Flower's list of nodes has no names: only this file maps them to sites.
        number=$(echo "$said" | grep -o '[0-9]\{15,\}' | tail -1)
        touch nodes.txt
        # A site that left and came back under its name is still registered with its old number: keep that to end it.
        sed "s/^$site \\([0-9]*\\)\$/# before: $site \\1/;/ $site $number\$/d" nodes.txt > nodes.new
        [ -n "$number" ] && echo "$site $number" >> nodes.new
        [ -n "$number" ] || echo "the number of $site is not in Flower's answer: see flwr supernode list" >&2
        mv nodes.new nodes.txt
    else
        echo "$said" >&2
        failed="$failed $site"
    fi
done
if [ -n "$failed" ]; then
    echo "not registered now:$failed (a key that is in use has been registered before)" >&2
    exit 1
fi
