#!/bin/sh
# Flower's own command for the federation @federation: flwr.sh list, flwr.sh stop RUN_ID, flwr.sh log RUN_ID --show.
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
cd -- "$here"
. ./connect.sh
flwr "$@@"
