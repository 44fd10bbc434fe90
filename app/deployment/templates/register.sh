#!/bin/sh
# Tells the running server of the federation @federation which sites may connect. Again for one site: register.sh SITE
set -eu
cd "$(dirname "$0")"
. ./operator.env
export FLWR_HOME="$(pwd)" FLWR_TELEMETRY_ENABLED=0 FLWR_DISABLE_UPDATE_CHECK=1
wanted=${1:-}
register() {
    if [ -z "$wanted" ] || [ "$wanted" = "$1" ]; then
        "$VENV/bin/flwr" supernode register "sites/$1.pub" @federation --name "$1"
    fi
}
@lines
