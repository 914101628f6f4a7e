#!/bin/sh
# Start one Redis, Valkey or Sentinel of the site with redis.conf, sentinel.conf and users.conf
# next to this file:
#
#   redis-node.sh redis PORT PRIMARY_PORT      primary if both ports are the same
#   redis-node.sh sentinel PORT PRIMARY_PORT
#   redis-node.sh cluster PORT                 a node of a Redis Cluster: see NODES
#   redis-node.sh check PORT                   exit 0 if it answers
#
# HOST is the address of the servers, by default 127.0.0.1: one machine, or containers that share
# one network (compose.yaml). SENTINELS lists the ports of the Sentinels, if there are any, and NODES
# those of a cluster: three primaries, then the replica of each. SECRETS is a folder with one file
# per password. DATA is a folder whose content may be lost at any time.
set -eu
umask 077

here=$(cd "$(dirname "$0")" && pwd)
kind=$1 port=$2 primary=${3:-$2}
host=${HOST:-127.0.0.1}
secrets=${SECRETS:-/run/secrets}
data=${DATA:-/data}
server=$(command -v valkey-server || command -v redis-server)
client=$(command -v valkey-cli || command -v redis-cli)

secret() {
    value=$(cat "$secrets/$1")
    case $value in
    "" | *[!A-Za-z0-9_.~-]*)
        echo "$secrets/$1 may only contain letters, digits and _ . ~ -, because it is written into" \
            "redis.conf. To make it, run: python deploy/make_secrets.py" >&2
        exit 1
        ;;
    esac
    printf %s "$value"
}

ask() { # ask PORT PASSWORD_FILE USER COMMAND...
    ask_port=$1 ask_password=$(secret "$2") ask_user=$3
    shift 3
    REDISCLI_AUTH=$ask_password timeout 2 "$client" -h "$host" -p "$ask_port" \
        ${ask_user:+--user "$ask_user"} "$@" 2>/dev/null
}

# After a failover, the primary in the arguments is out of date: ask the Sentinels for the current
# one.
for sentinel in ${SENTINELS:-}; do
    if [ "$sentinel" != "$port" ]; then
        known=$(ask "$sentinel" redis_sentinel_password "" \
            sentinel get-master-addr-by-name mymaster | sed -n 2p) || known=
        if [ -n "$known" ]; then
            primary=$known
            break
        fi
    fi
done

# A node without data, such as a new container, reads from this file which nodes there are. The other
# nodes then tell it what has changed, such as which node has its slots.
write_nodes() {
    number=0
    set --
    for node in $NODES; do
        shard=$((number % 3)) number=$((number + 1))
        if [ "$number" -le 3 ]; then
            set -- "$@" "$node"
            role="master -" slots=" $((16384 * shard / 3))-$((16384 * (shard + 1) / 3 - 1))"
        else
            role="slave $(printf %040d "$1")" slots=
            shift
        fi
        [ "$node" != "$port" ] || role="myself,$role"
        printf '%040d %s:%s@%s %s 0 0 %s connected%s\n' "$node" "$host" "$node" \
            "$((node + 10000))" "$role" "$((shard + 1))" "$slots"
    done
    echo "vars currentEpoch 3 lastVoteEpoch 0"
}

case $kind in
redis | cluster)
    conf=$data/redis-$port.conf
    for name in redis redis_replica redis_guard redis_admin; do # now: an error in a pipe is ignored
        secret "${name}_password" >/dev/null
    done
    {
        cat "$here/redis.conf"
        sed -e "s|SITE_PASSWORD|$(secret redis_password)|" \
            -e "s|REPLICA_PASSWORD|$(secret redis_replica_password)|" \
            -e "s|GUARD_PASSWORD|$(secret redis_guard_password)|" \
            -e "s|ADMIN_PASSWORD|$(secret redis_admin_password)|" \
            -e "s|PREFIX|$REDIS_PREFIX|g" "$here/users.conf"
        echo "port $port"
        echo "dir \"$data\""
        echo "masteruser replica"
        echo "masterauth $(secret redis_replica_password)"
        [ "$port" = "$primary" ] || echo "replicaof $host $primary"
        [ "$kind" = redis ] || printf '%s\n' "cluster-enabled yes" "cluster-node-timeout 1000" \
            "cluster-config-file nodes-$port.conf"
    } >"$conf"
    [ "$kind" = redis ] || write_nodes >"$data/nodes-$port.conf"
    exec "$server" "$conf"
    ;;
sentinel)
    conf=$data/sentinel-$port.conf
    {
        echo "port $port"
        echo "dir \"$data\""
        echo "requirepass $(secret redis_sentinel_password)"
        # The same ID after each start; otherwise the others would count it as one more Sentinel.
        printf 'sentinel myid %040d\n' "$port"
        echo "sentinel monitor mymaster $host $primary ${QUORUM:-2}"
        echo "sentinel auth-user mymaster sentinel"
        echo "sentinel auth-pass mymaster $(secret redis_guard_password)"
        cat "$here/sentinel.conf"
    } >"$conf"
    exec "$server" "$conf" --sentinel
    ;;
check)
    case " ${SENTINELS:-} " in
    *" $port "*) ask "$port" redis_sentinel_password "" ping | grep -q PONG ;;
    *) ask "$port" redis_password site ping | grep -q PONG ;;
    esac
    ;;
*)
    sed -n '2,14p' "$0" >&2
    exit 2
    ;;
esac
