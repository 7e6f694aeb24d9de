#!/bin/sh
# The S3 store: SeaweedFS in one process, every port named, what is not used switched off.
set -eu
if [ "$BIND" != 127.0.0.1 ]; then
    case "$AWS_ACCESS_KEY_ID $AWS_SECRET_ACCESS_KEY $CONSOLE_PASSWORD" in
    *development*) echo "refused: BIND is $BIND while S3_ACCESS_KEY, S3_SECRET_KEY or CONSOLE_PASSWORD has its development value; run: make server-env" >&2; exit 1 ;;
    esac
fi
exec weed mini -dir="${STORE_FOLDER:-/data}" -ip=127.0.0.1 -ip.bind="${LISTEN:-0.0.0.0}" -bucket="$S3_BUCKET" \
    -master.port="${MASTER_PORT:-9333}" -volume.port="${VOLUME_PORT:-9340}" -filer.port="${FILER_PORT:-8888}" \
    -s3.port="${S3_PORT:-9000}" -s3.autoCreateBucket=false -s3.port.iceberg=0 -s3.port.lance=0 -webdav=false \
    -admin.port="${CONSOLE_PORT:-9001}" -admin.user=admin -admin.password="$CONSOLE_PASSWORD" -master.telemetry=false
