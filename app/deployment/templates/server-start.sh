#!/bin/sh
# Starts the server of the federation @federation: TLS, no site without a registered key, and runs from this machine
# alone. It holds no federation key.
set -eu
CDPATH= cd -- "$(dirname -- "$0")"
here=$(pwd)
@read_env
case $VENV in
*:*)
    printf '%s\n' "VENV=$VENV in $here/server.env: a colon separates folders in PATH; move it to a folder without one" >&2
    exit 2
    ;;
esac
umask 077
mkdir -p state
export FLWR_HOME="$here/state/flower" FLWR_TELEMETRY_ENABLED=0 FLWR_DISABLE_UPDATE_CHECK=1 PYTHONUTF8=1
export FLWR_SUPEREXEC_TASK_POLL_INTERVAL=0.2
export PATH="$VENV/bin:$PATH"
cd state # run folders with relative paths come here
@watching
exec "$VENV/bin/python" -P -m app.deployment.superlink --host "$BIND" --port "$PORT" --ssl-ca-certfile "$here/ca.crt" --ssl-certfile "$here/server.crt" \
    --ssl-keyfile "$here/server.key" --enable-supernode-auth --disable-runtime-dependency-installation \
    --database "$here/state/superlink.db" ${HEALTH_PORT:+"--health-server-address=127.0.0.1:$HEALTH_PORT"}
