#!/bin/sh
# The base images of the team server, by their digests, into .env.local. Run it again after a change of their versions.
set -eu
cd "$(dirname "$0")/.."
images=$(sed -nE 's/.*\$\{([A-Z]+_IMAGE):-([^}]+)\}.*/\1 \2/p' docker-compose.yml)
pinned=$(echo "$images" | while read -r variable image; do
    docker pull --quiet "$image" >/dev/null || exit 2
    digest=$(docker image inspect --format '{{index .RepoDigests 0}}' "$image") || exit 2
    echo "$variable=$image@${digest#*@}"
done)
umask 077
{
    [ ! -f .env.local ] || grep -vE '^[A-Z]+_IMAGE=' .env.local || true
    echo "$pinned"
} >.env.local.new
mv .env.local.new .env.local
echo "$pinned"
