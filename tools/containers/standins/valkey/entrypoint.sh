# As in the image that this stands in for: the server runs without root's rights, and without its protected mode.
set -eu
if [ "$(id -u)" = 0 ]; then
    chown -R valkey:valkey /data
    exec setpriv --reuid=valkey --regid=valkey --clear-groups sh "$0" "$@"
fi
exec "$@" --protected-mode no
