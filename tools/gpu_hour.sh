#!/bin/sh
# What a GPU says of this project in 25 minutes: tools/gpu_hour.sh [--out FOLDER] [--reduced]. See gpu_hour.py.
cd "$(dirname "$0")/.." || exit 1
[ -n "$PYTHON" ] || PYTHON=$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)
exec "$PYTHON" tools/gpu_hour.py "$@"
