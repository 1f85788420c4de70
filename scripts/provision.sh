#!/usr/bin/env bash
# Installs and starts what the tests need on Debian, as root: scripts/provision.sh [browser] [docker] [postgres] [prometheus] [python] [systemd]
# Safe to repeat: what is there already is left alone. An engine that this script starts leaves dockerd.pid (or,
# with systemd, docker.service) in $PHONEFARM_PROVISION_DIR (default /run/phonefarm-provision), so that the
# caller can stop it.
set -euo pipefail

state=${PHONEFARM_PROVISION_DIR:-/run/phonefarm-provision}
engine_log=/var/log/phonefarm-dockerd.log
engine_start_seconds=60

say() { printf 'provision: %s\n' "$*"; }
fail() { printf 'provision: %s\n' "$*" >&2; exit 1; }

usage() {
    cat <<'T'
usage: scripts/provision.sh COMPONENT...
  browser   Chromium, in which the console's pages are tested
  docker    Docker Engine and docker-compose (docker.io, docker-compose, debootstrap); started when none answers
  postgres  PostgreSQL's programs, and libfaketime, by which its clock is set; nothing is started, tests run their own server
  systemd   the engine, and the image of a Debian whose init is systemd, to install the agent's service in
  prometheus  promtool, which tests the alerts; nothing is started
  python    Python with venv, make, git and curl, for `make dev`
T
}

installed() { dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed; }

install_missing() {
    local missing=() package
    for package in "$@"; do installed "$package" || missing+=("$package"); done
    if [ ${#missing[@]} -eq 0 ]; then say "installed already: $*"; return; fi
    [ "$(id -u)" -eq 0 ] || fail "must be root to install ${missing[*]}; or install them yourself"
    say "installing ${missing[*]}"
    # RUNLEVEL=1 keeps a package's own service from starting where init is not systemd (invoke-rc.d(8)).
    export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
    apt-get -o Acquire::Retries=3 -qq update
    apt-get -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 -qq install --yes --no-install-recommends "${missing[@]}" >/dev/null
}

provide_python() {
    if command -v make >/dev/null && command -v git >/dev/null && command -v curl >/dev/null && python3 -c 'import ensurepip, venv' 2>/dev/null; then
        say "there already: $(python3 --version), make, git, curl"
    else
        install_missing python3 python3-venv make git curl ca-certificates
    fi
}

engine_answers() { docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

start_engine() {
    if engine_answers; then say "engine answers already: $(docker version --format '{{.Server.Version}}')"; return; fi
    [ "$(id -u)" -eq 0 ] || fail "no engine answers and only root can start one"
    if [ -d /run/systemd/system ]; then
        say "starting docker.service"
        systemctl start docker.service
        mkdir -p "$state" && touch "$state/docker.service"
    else
        # Runs have no network, so neither bridge nor iptables is needed; with live-restore an engine
        # restart leaves runs alive.
        say "starting dockerd (its log: $engine_log)"
        mkdir -p "$state"
        setsid nohup dockerd --bridge=none --iptables=false --ip6tables=false --live-restore \
            </dev/null >>"$engine_log" 2>&1 &
        echo $! >"$state/dockerd.pid"
    fi
    local deadline=$((SECONDS + engine_start_seconds))
    until engine_answers; do
        [ $SECONDS -lt $deadline ] || { tail -n 20 "$engine_log" >&2 || true; fail "no answer from the engine in ${engine_start_seconds} s"; }
        if [ -f "$state/dockerd.pid" ] && ! kill -0 "$(cat "$state/dockerd.pid")" 2>/dev/null; then
            tail -n 20 "$engine_log" >&2; fail "dockerd ended while starting"
        fi
        sleep 0.2
    done
    say "engine answers: $(docker version --format '{{.Server.Version}}')"
}

systemd_image=phonefarm-systemd:bookworm-venv # tests/support/systemd_host.py starts it
systemd_packages=systemd,systemd-sysv,dbus,udev,python3,python3-venv,ca-certificates

make_systemd_image() {
    if docker image inspect "$systemd_image" >/dev/null 2>&1; then say "image there already: $systemd_image"; return; fi
    [ "$(id -u)" -eq 0 ] || fail "must be root to make $systemd_image"
    say "making $systemd_image with debootstrap (about a minute, once)"
    local root
    root=$(mktemp -d)
    debootstrap --variant=minbase --include="$systemd_packages" bookworm "$root" >"$root.log" 2>&1 ||
        { tail -n 20 "$root.log" >&2; rm -rf "$root" "$root.log"; fail "debootstrap failed"; }
    tar -C "$root" --exclude=./var/cache/apt --exclude=./var/lib/apt/lists -c . |
        docker import --change 'LABEL phonefarm.test=systemd' - "$systemd_image" >/dev/null
    rm -rf "$root" "$root.log"
}

[ $# -gt 0 ] || { usage; exit 2; }
for component in "$@"; do
    case $component in
        browser) install_missing chromium ;;
        docker) install_missing docker.io docker-compose debootstrap; start_engine ;;
        postgres) install_missing postgresql libfaketime ;;
        prometheus) install_missing prometheus ;;
        python) provide_python ;;
        systemd) install_missing docker.io debootstrap; start_engine; make_systemd_image ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; fail "unknown component: $component" ;;
    esac
done
