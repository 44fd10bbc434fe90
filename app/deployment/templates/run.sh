#!/bin/sh
# Starts a run of the federation @federation and shows its log. Arguments are Hydra overrides, for example:
#   run.sh experiment=patent_dual federation.rounds=40 run_dir=/opt/fed-vehicle-reid/parks-server/state/first
set -eu
CDPATH= cd -- "$(dirname -- "$0")"
. ./connect.sh
"$VENV/bin/python" -P -m app.deployment.bundle "$(pwd)" "$PROJECT" # which code goes to the sites, and whether they run it
config="$FLWR_HOME/run-$$.toml" # a file, because Flower splits what stands on the command line at blanks
trap 'rm -f "$config"' EXIT
"$VENV/bin/python" -P -m app.deployment.toml_text overrides --words \
    federation.num_clients=@num_sites @privacy'privacy.key_id="@key_id"' 'federation.authority="@authority"' "$@@" > "$config"
log="$FLWR_HOME/run-$$.log"
trap 'rm -f "$config" "$log"' EXIT
export PYTHONUNBUFFERED=1
flwr run "$PROJECT" @federation --stream -c "$config" 2>&1 | tee "$log"
# Flower's command ends with 0 as well when the server was stopped under it.
if ! grep -q "final model:" "$log"; then
    echo "the run has not ended well, or is still going on without this log: look at scripts.federation status; the same" \
        "command with federation.resume=true and its run_dir goes on after the last complete round" >&2
    exit 1
fi
