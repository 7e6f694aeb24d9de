#!/bin/sh
# MLflow with login, its records in PostgreSQL, its artifacts handed through to the S3 store.
set -eu
umask 077
if [ "$BIND" != 127.0.0.1 ]; then
    case "$MLFLOW_AUTH_ADMIN_PASSWORD $MLFLOW_FLASK_SERVER_SECRET_KEY $POSTGRES_PASSWORD" in
    *development*) echo "refused: BIND is $BIND while MLFLOW_ADMIN_PASSWORD, MLFLOW_SECRET_KEY or POSTGRES_PASSWORD has its development value; run: make server-env" >&2; exit 1 ;;
    esac
fi
store="postgresql+psycopg2://mlflow:$POSTGRES_PASSWORD@${POSTGRES_ADDRESS:-postgres}/mlflow"
if [ "${1:-}" = upgrade ]; then exec python3 -m mlflow db upgrade "$store"; fi
cat >"$HOME/auth.ini" <<INI
[mlflow]
default_permission = READ
database_uri = $store
admin_username = $MLFLOW_ADMIN_USERNAME
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
INI
export MLFLOW_AUTH_CONFIG_PATH="$HOME/auth.ini" MLFLOW_BACKEND_STORE_URI="$store"
port=${MLFLOW_PORT:-5009}
hosts="localhost:$port,127.0.0.1:$port,mlflow:$port${MLFLOW_EXTRA_HOSTS:+,$MLFLOW_EXTRA_HOSTS}"
exec python3 -m mlflow server --host "${LISTEN:-0.0.0.0}" --port "$port" --workers 2 --app-name basic-auth \
    --serve-artifacts --artifacts-destination "s3://$S3_BUCKET" --allowed-hosts "$hosts"
