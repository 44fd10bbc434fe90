# Each line of this process, and of those that it starts, gets time, level and party, and goes where LOG_FILE says.
if [ "${LOG_FORMAT:-text}" != raw ]; then
    set -- "$VENV/bin/python" -P -m app.deployment.log_lines @party "${LOG_FORMAT:-text}" "${LOG_FILE:-}" \
        "${LOG_MB:-10}" "${LOG_KEPT:-5}"
    "$@@" --check || exit 2
    rm -f log.pipe
    mkfifo -m 600 log.pipe
    "$@@" < log.pipe & # ends with the last process that writes to it
    exec > log.pipe 2>&1
    rm -f log.pipe
fi
if [ -n "${METRICS_PORT:-}" ]; then # for Prometheus on this machine; ends with this process
    "$VENV/bin/python" -P -m app.deployment.metrics "$here" "$METRICS_PORT" $$ &
fi
