# Read by register.sh and run.sh: where Flower finds the server of the federation @federation. It wants absolute paths, so
# that its file is written anew wherever this folder lies.
@read_env
export FLWR_HOME="$(pwd)/flower" FLWR_TELEMETRY_ENABLED=0 FLWR_DISABLE_UPDATE_CHECK=1 PYTHONUTF8=1
mkdir -p "$FLWR_HOME"
certificates=$("$VENV/bin/python" -P -m app.deployment.toml_text root-certificates "$(pwd)/ca.crt") || exit 2
cat > "$FLWR_HOME/config.toml" <<END
[superlink]
default = "@federation"

[superlink.@federation]
address = "@address"
$certificates
END
flwr() {
    if [ -f operator.crt ]; then # from another machine than the server
        "$VENV/bin/python" -P -m app.deployment.control_client "$(pwd)" "$@@"
    else
        "$VENV/bin/flwr" "$@@"
    fi
}
