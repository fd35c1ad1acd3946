# As in the image that this stands in for: the first start makes the cluster, the user and the database of the variables
# POSTGRES_…, with a server that listens on its socket alone; passwords are asked for over TCP.
set -eu
if [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA"
    chown -R postgres:postgres /var/lib/postgresql
    exec setpriv --reuid=postgres --regid=postgres --clear-groups sh "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    : "${POSTGRES_PASSWORD:?is not set}"
    user=${POSTGRES_USER:-postgres}
    database=${POSTGRES_DB:-$user}
    printf '%s\n' "$POSTGRES_PASSWORD" |
        initdb --encoding=UTF8 --locale=C --auth-local=trust --auth-host=scram-sha-256 --username="$user" --pwfile=/dev/stdin
    echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
    echo "listen_addresses = '*'" >> "$PGDATA/postgresql.conf"
    pg_ctl --wait --options="-c listen_addresses=''" start
    [ "$database" = postgres ] || createdb --username="$user" "$database"
    pg_ctl --wait --mode=fast stop
fi
exec "$@"
