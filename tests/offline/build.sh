#!/bin/sh
# Build stand-ins for the three base images of docker-compose.yml from debian:bookworm-slim, under the same names, so that
# the compose file itself is run unchanged where no image can be pulled.
set -eu
cd "$(dirname "$0")"
image() { docker image inspect "$2" >/dev/null 2>&1 || docker build -q -t "$2" -f "$1.Dockerfile" .; }
image postgres postgres:17.6-bookworm
image seaweedfs chrislusf/seaweedfs:4.48
image python python:3.12-slim-bookworm
