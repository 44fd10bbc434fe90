#!/bin/sh
# Starts a run of the federation @federation and shows its log. Arguments are Hydra overrides, for example:
#   run.sh experiment=patent_dual federation.rounds=40 run_dir=/srv/runs/first
set -eu
cd "$(dirname "$0")"
. ./operator.env
export FLWR_HOME="$(pwd)" FLWR_TELEMETRY_ENABLED=0 FLWR_DISABLE_UPDATE_CHECK=1
# A file, because Flower splits what stands on the command line at blanks, quoted or not.
printf "overrides = '''%s'''\n" "federation.num_clients=@num_sites privacy.key_id=@key_id $*" > last-run.toml
exec "$VENV/bin/flwr" run "$PROJECT" @federation --stream -c last-run.toml
