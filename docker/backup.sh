#!/bin/sh
# Save the team server's database and store into a folder, or bring them back: backup.sh save|restore FOLDER. Called by make,
# which sets COMPOSE. MLflow and the store stand still meanwhile, so that the two belong together.
set -eu
umask 077
what=$1 folder=$2
if [ -z "$folder" ]; then echo "error: say a folder: make server-backup TO=backups/monday, or make server-restore FROM=backups/monday" >&2; exit 2; fi
if [ "$what" = save ] && [ -e "$folder" ]; then echo "error: $folder is there already; name a new one" >&2; exit 2; fi
if [ "$what" = restore ] && ! [ -s "$folder/database" -a -s "$folder/store.tar" ]; then echo "error: $folder holds no backup (database, store.tar)" >&2; exit 2; fi

$COMPOSE up -d --wait postgres
$COMPOSE stop mlflow store
if [ "$what" = save ]; then
    mkdir -p "$folder"
    $COMPOSE exec -T postgres pg_dump -U mlflow -Fc mlflow >"$folder/database"
    $COMPOSE run --rm -T --no-deps --entrypoint tar store -C /data -cf - . >"$folder/store.tar"
else
    $COMPOSE exec -T postgres dropdb -U mlflow --force --if-exists mlflow
    $COMPOSE exec -T postgres createdb -U mlflow mlflow
    $COMPOSE exec -T postgres pg_restore -U mlflow -d mlflow <"$folder/database"
    $COMPOSE run --rm -T --no-deps --entrypoint sh store -c 'find /data -mindepth 1 -delete && tar -C /data -xf -' <"$folder/store.tar"
fi
$COMPOSE up -d --wait
