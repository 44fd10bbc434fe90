#!/bin/sh
# Starts the site @site of the federation @federation: it connects to the server and trains on request.
set -eu
CDPATH= cd -- "$(dirname -- "$0")"
here=$(pwd)
@read_env
umask 077
mkdir -p state
rm -rf state/bin state/apps state/flower/apps state/clients-*.sock # of an earlier start
export FLWR_HOME="$here/state/flower" FLWR_TELEMETRY_ENABLED=0 FLWR_DISABLE_UPDATE_CHECK=1 PYTHONUTF8=1
export USER="${USER:-uid-$(id -u)}" HOME="${HOME:-$here/state}" # a container's user may have neither
export FLWR_SUPEREXEC_TASK_POLL_INTERVAL=0.2
export PATH="$here/state/bin:$VENV/bin:$PATH" # state/bin: client processes that check what they run
case $DATA_ROOT in
/*) ;;
*)
    printf '%s\n' "DATA_ROOT=$DATA_ROOT in $here/site.env is no absolute path" >&2
    exit 2
    ;;
esac
if [ ! -d "$DATA_ROOT" ]; then
    printf '%s\n' "DATA_ROOT=$DATA_ROOT in $here/site.env is no folder" >&2
    exit 2
fi
cd state
"$VENV/bin/python" -P -m app.deployment.site_files "$here" @site "$DATA" "$DATA_ROOT"
# The server refuses a clock that is ahead, and Flower's log does not say why.
clock=0
"$VENV/bin/python" -P -m app.deployment.clock @address "$here/ca.crt" || clock=$?
[ $clock -ne 2 ] || exit 2
@watching
if [ $clock -eq 3 ]; then # the server is not up yet
    "$VENV/bin/python" -P -m app.deployment.clock @address "$here/ca.crt" $$ & # ends with its answer, or with this process
fi
"$VENV/bin/python" -P -m app.deployment.fork_server "$here" $$ & # ends with this process, which the next line makes a SuperNode
exec "$VENV/bin/flower-supernode" --superlink @address --root-certificates "$here/ca.crt" \
    --auth-supernode-private-key "$here/site.key" --host 127.0.0.1 --port "$RUNTIME_PORT" \
    --node-config "$here/state/node.toml" ${HEALTH_PORT:+"--health-server-address=127.0.0.1:$HEALTH_PORT"}
