set -eu
mkdir -p "$PGDATA" /var/run/postgresql && chown -R postgres "$PGDATA" /var/run/postgresql && chmod 700 "$PGDATA"
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    printf %s "$POSTGRES_PASSWORD" >/tmp/password && chown postgres /tmp/password
    gosu postgres initdb --username="$POSTGRES_USER" --pwfile=/tmp/password --auth-host=scram-sha-256 ${POSTGRES_INITDB_ARGS:-} >/dev/null && rm /tmp/password
    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
    gosu postgres pg_ctl -w -o "-c listen_addresses=''" start >/dev/null
    gosu postgres createdb --username="$POSTGRES_USER" "$POSTGRES_DB" 2>/dev/null || true
    gosu postgres pg_ctl -w stop >/dev/null
fi
exec gosu postgres postgres -c listen_addresses='*'
