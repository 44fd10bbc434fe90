#!/bin/sh
# Starts the site @site of the federation @federation: it connects to the server and trains when it is asked to.
set -eu
cd "$(dirname "$0")"
here=$(pwd)
. ./site.env
umask 077
mkdir -p state
rm -rf state/bin state/clients-*.sock # of an earlier start
export FLWR_HOME="$here/state/flower" FLWR_TELEMETRY_ENABLED=0 FLWR_DISABLE_UPDATE_CHECK=1
export USER="${USER:-uid-$(id -u)}" HOME="${HOME:-$here/state}" # a container's user may have neither
export FLWR_SUPEREXEC_TASK_POLL_INTERVAL=0.2
export PATH="$here/state/bin:$VENV/bin:$PATH" # state/bin: client processes that need not import everything anew
if [ ! -d "$DATA_ROOT" ]; then
    echo "DATA_ROOT=$DATA_ROOT in $here/site.env is no folder" >&2
    exit 2
fi
cd state
# The server refuses a clock that is ahead, and Flower's log does not say why.
"$VENV/bin/python" -P -m app.deployment.clock @address "$here/ca.crt" || [ $? -ne 2 ] || exit 2
"$VENV/bin/python" -P -m app.deployment.warm . $$ & # ends with this process, which the next line makes a SuperNode
exec "$VENV/bin/flower-supernode" --superlink @address --root-certificates "$here/ca.crt" \
    --auth-supernode-private-key "$here/site.key" --host 127.0.0.1 --port "$RUNTIME_PORT" \
    --node-config "client=\"@site\" data=\"$DATA\" data-root=\"$DATA_ROOT\" state-dir=\"$here/state/node\" key-file=\"$here/federation.key\""
