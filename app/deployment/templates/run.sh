#!/bin/sh
# Starts a run of the federation @federation and shows its log. Arguments are Hydra overrides, for example:
#   run.sh experiment=patent_dual federation.rounds=40 run_dir=/srv/runs/first
set -eu
cd "$(dirname "$0")"
. ./operator.env
export FLWR_HOME="$(pwd)" FLWR_TELEMETRY_ENABLED=0 FLWR_DISABLE_UPDATE_CHECK=1
overrides="federation.num_clients=@num_sites privacy.key_id=@key_id $*"
exec "$VENV/bin/flwr" run "$PROJECT" @federation --stream -c "overrides='''$overrides'''"
