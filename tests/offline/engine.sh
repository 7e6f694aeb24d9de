#!/bin/sh
# Debian, as root: a Docker engine with Compose v2 for the tests, and debian:bookworm-slim where it cannot be pulled. The image
# trusts what this machine trusts, so that it also builds behind a proxy that signs for itself. `engine.sh stop` ends the engine.
set -eu
state=/var/tmp/fashion-gan-engine
mkdir -p "$state"
if [ "${1:-}" = stop ]; then
    if [ -s "$state/pid" ]; then kill "$(cat "$state/pid")" && rm "$state/pid"; fi
    exit
fi
export DEBIAN_FRONTEND=noninteractive
command -v dockerd >/dev/null && command -v debootstrap >/dev/null ||
    apt-get -q install -y --no-install-recommends docker.io debootstrap ca-certificates >"$state/apt.log"
mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | grep -oE 'https?://[^ ]+/debian/?( |$)' | head -1 | tr -d ' ')
if ! docker compose version >/dev/null 2>&1; then # Debian 12 has none; Debian 13's is one file that runs anywhere
    mkdir -p "$state/lists/partial" "$state/cache/archives/partial" "$HOME/.docker/cli-plugins"
    echo "deb [signed-by=$(ls /usr/share/keyrings/debian-archive-keyring.*g | head -1)] $mirror trixie main" >"$state/sources"
    set -- -o Dir::Etc::sourcelist="$state/sources" -o Dir::Etc::sourceparts=/dev/null -o Dir::State::lists="$state/lists" \
        -o Dir::Cache="$state/cache" -o APT::Sandbox::User=root
    apt-get "$@" -q update >>"$state/apt.log" 2>&1
    (cd "$state" && apt-get "$@" -q download docker-compose >>"$state/apt.log" 2>&1 && dpkg -x docker-compose_*.deb out)
    cp "$state/out/usr/libexec/docker/cli-plugins/docker-compose" "$HOME/.docker/cli-plugins/"
fi
if ! docker info >/dev/null 2>&1; then
    setsid nohup dockerd --storage-driver=vfs >"$state/dockerd.log" 2>&1 </dev/null &
    echo $! >"$state/pid"
    for _ in $(seq 60); do docker info >/dev/null 2>&1 && break || sleep 0.5; done
    docker info >/dev/null
fi
if ! docker image inspect debian:bookworm-slim >/dev/null 2>&1 && ! docker pull -q debian:bookworm-slim 2>/dev/null; then
    debootstrap --variant=minbase bookworm "$state/root" "$mirror" >"$state/debootstrap.log"
    cp -L /etc/ssl/certs/ca-certificates.crt "$state/root/opt/ca.crt"
    tar -C "$state/root" -c . | docker import -c "ENV PIP_CERT=/opt/ca.crt SSL_CERT_FILE=/opt/ca.crt REQUESTS_CA_BUNDLE=/opt/ca.crt" - debian:bookworm-slim >/dev/null
    rm -rf "$state/root"
fi
docker pull -q postgres:17.6-bookworm >/dev/null 2>&1 || sh "$(dirname "$0")/build.sh"
