#!/bin/sh
# Starts a run of the federation @federation and shows its log. Arguments are Hydra overrides, for example:
#   run.sh experiment=patent_dual federation.rounds=40 run_dir=/opt/fed-vehicle-reid/parks-server/state/first
set -eu
cd "$(dirname "$0")"
. ./connect.sh
config="$FLWR_HOME/run-$$.toml" # a file, because Flower splits what stands on the command line at blanks
trap 'rm -f "$config"' EXIT
"$VENV/bin/python" -c 'import json, shlex, sys; print("overrides =", json.dumps(shlex.join(sys.argv[1:])))' \
    federation.num_clients=@num_sites 'privacy.key_id="@key_id"' "$@@" > "$config"
"$VENV/bin/flwr" run "$PROJECT" @federation --stream -c "$config"
