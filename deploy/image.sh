#!/usr/bin/env bash
# Makes the image of deploy/compose.yaml: controller and gateway of this checkout.
#
#   deploy/image.sh [NAME] [BASE]
#
# NAME is the image's (phonefarm:latest). BASE is any image with Python 3.11 or newer on glibc (python:3.12-slim).
# Needs docker and a python3 with pip; wheels are fetched out here, the build itself has no network.
set -euo pipefail
case ${1:-} in -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
name=${1:-phonefarm:latest}
base=${2:-python:3.12-slim}
python=${PYTHON:-python3}
here=$(cd "$(dirname "$0")" && pwd)
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT

say() { printf 'image: %s\n' "$*"; }

tell='import sys; print("%d.%d" % sys.version_info[:2])'
if ! version=$(docker run --rm --network none --entrypoint python3 "$base" -c "$tell"); then
    say "$base has no python3, or is not to be had here: name another, deploy/image.sh $name BASE" >&2
    exit 1
fi
say "wheels for Python $version"
"$python" -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$context/wheels" "$here/.."
platforms=()
for tag in manylinux_2_28 manylinux_2_17 manylinux2014; do platforms+=(--platform "${tag}_$(uname -m)"); done
wheel=$(echo "$context"/wheels/phonefarm-*.whl)
"$python" -m pip install --quiet --disable-pip-version-check --no-compile --target "$context/lib" \
    --only-binary=:all: --implementation cp --python-version "$version" "${platforms[@]}" \
    "phonefarm[controller,postgres,s3,gateway] @ file://$wheel"
rm -rf "$context/lib/bin" "$context/wheels"
mkdir "$context/bin"
for program in controller gateway; do
    printf '#!/bin/sh\nexec python3 -m phonefarm_%s "$@"\n' "$program" >"$context/bin/phonefarm-$program"
done
cp "$here/Dockerfile" "$context/"
say "building $name from $base"
docker build --quiet --network none --build-arg "BASE=$base" --tag "$name" "$context"
