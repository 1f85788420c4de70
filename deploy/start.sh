#!/bin/sh
# In the image: starts the program by whose name it is called. One that serves says where, for health.py.
set -eu
name=$(basename "$0")
case "$name ${1:-}" in
    "phonefarm-agent run")
        shift
        set -- run --ready-file /tmp/ready.json --metrics 127.0.0.1:9464 "$@"
        ;;
    "phonefarm-controller -"* | "phonefarm-gateway -"*) set -- --ready-file /tmp/ready.json "$@" ;;
esac
case $name in
    phonefarm) module=phonefarm_cli ;;
    *) module=$(echo "$name" | tr - _) ;;
esac
exec python3 -m "$module" "$@"
