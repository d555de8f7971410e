#!/bin/sh
# Within the build, into $VIRTUAL_ENV: `locked FILE` makes it and installs what a lock names, by hash and never from source;
# `project` adds what was copied here of this project, built with the locked setuptools.
set -eu
case "$1" in
locked)
    uv venv --quiet --python "$(command -v python3)" "$VIRTUAL_ENV"
    uv pip sync --quiet --require-hashes --only-binary :all: "$2"
    ;;
project)
    uv build --quiet --wheel --build-constraints requirements-dev.lock --require-hashes --out-dir dist
    uv pip install --quiet --no-deps dist/*.whl
    ;;
esac
# Tests of packages bring keys, certificates and weights; the lock is uv's, for everybody to write.
find "$VIRTUAL_ENV" -type d \( -name tests -o -name test \) -prune -exec rm -r {} +
rm -f "$VIRTUAL_ENV/.lock"
