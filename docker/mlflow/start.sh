#!/bin/sh
# MLflow with login, its records in PostgreSQL, its artifacts handed through to the S3 store.
set -eu
umask 077
if [ "$BIND" != 127.0.0.1 ]; then
    case "$MLFLOW_AUTH_ADMIN_PASSWORD $MLFLOW_FLASK_SERVER_SECRET_KEY $POSTGRES_PASSWORD" in
    *development*) echo "refused: BIND is $BIND while MLFLOW_ADMIN_PASSWORD, MLFLOW_SECRET_KEY or POSTGRES_PASSWORD has its development value; run: make server-env" >&2; exit 1 ;;
    esac
fi
store="postgresql+psycopg2://mlflow:$POSTGRES_PASSWORD@postgres/mlflow"
cat >"$HOME/auth.ini" <<INI
[mlflow]
default_permission = READ
database_uri = $store
admin_username = $MLFLOW_ADMIN_USERNAME
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
INI
export MLFLOW_AUTH_CONFIG_PATH="$HOME/auth.ini" MLFLOW_BACKEND_STORE_URI="$store"
hosts="localhost:5009,127.0.0.1:5009,mlflow:5009${MLFLOW_EXTRA_HOSTS:+,$MLFLOW_EXTRA_HOSTS}"
exec python3 -m mlflow server --host 0.0.0.0 --port 5009 --workers 2 --app-name basic-auth \
    --serve-artifacts --artifacts-destination "s3://$S3_BUCKET" --allowed-hosts "$hosts"
