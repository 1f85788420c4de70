#!/usr/bin/env bash
# Makes the image of deploy/compose.yaml: controller, gateway, agent and command of this checkout.
#
#   deploy/image.sh [NAME] [BASE]
#
# NAME is the image's (phonefarm:latest). BASE is any image with Python 3.11 or newer on glibc (python:3.12-slim).
# Needs docker and a python3 with pip; wheels are fetched out here, the build itself has no network.
# With a folder of wheels, no index is needed: PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER (docs/install.md).
set -euo pipefail
case ${1:-} in -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
name=${1:-phonefarm:latest}
base=${2:-python:3.12-slim}
python=${PYTHON:-python3}
here=$(cd "$(dirname "$0")" && pwd)
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT

say() { printf 'image: %s\n' "$*"; }

tell='import platform, sys; print("%d.%d" % sys.version_info[:2], platform.libc_ver()[1].split(".")[1])'
if ! told=$(docker run --rm --network none --entrypoint python3 "$base" -c "$tell"); then
    say "$base has no python3, or is not to be had here: name another, deploy/image.sh $name BASE" >&2
    exit 1
fi
read -r version glibc <<<"$told"
say "wheels for Python $version and glibc 2.$glibc"
"$python" -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$context/wheels" "$here/.."
platforms=()
for minor in $(seq "$glibc" -1 17); do platforms+=(--platform "manylinux_2_${minor}_$(uname -m)"); done
platforms+=(--platform "manylinux2014_$(uname -m)")
wheel=$(echo "$context"/wheels/phonefarm-*.whl)
"$python" -m pip install --quiet --disable-pip-version-check --no-compile --target "$context/lib" \
    --only-binary=:all: --implementation cp --python-version "$version" "${platforms[@]}" \
    "phonefarm[controller,postgres,s3,tracing,gateway,agent,cli] @ file://$wheel"
rm -rf "$context/lib/bin" "$context/wheels"
cp "$here/Dockerfile" "$here/health.py" "$here/start.sh" "$context/"
say "building $name from $base"
docker build --quiet --network none --build-arg "BASE=$base" --tag "$name" "$context"
