#!/bin/bash
# A scan on machines that you reach by ssh and that see the same folder. Their connection is encrypted, and nobody else
# can use it: certificates.sh makes what that takes.
#
#   sh certificates.sh ~/.qifscan
#   HOSTS="node1 node2" bash ssh.sh scan.toml /shared/scan.zarr ~/.qifscan
set -eu
scan=$1 store=$2 keys=$3
python=${PYTHON:-python}
tls="--tls-ca-file $keys/ca.pem --tls-cert $keys/own.pem --tls-key $keys/own.key"
file=${store%/}.scheduler.json
rm -f "$file"
# shellcheck disable=SC2086
"$python" -m distributed.cli.dask_scheduler --host "tls://${SCHEDULER_HOST:-$(hostname)}" --port 0 --no-dashboard $tls --scheduler-file "$file" &
begun=$!
until [ -s "$file" ]; do sleep 0.2; done
address=$("$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["address"])' "$file")
for host in $HOSTS; do
    ssh "$host" "cd '$PWD' && PJRT_NPROC=1 '$python' -m distributed.cli.dask_worker $address --nthreads 1 --nworkers ${CORES:-1} --no-dashboard --death-timeout 60 $tls" &
    begun="$begun $!"
done
code=0
qifscan run "$scan" "$store" --scheduler "$address" --tls-ca "$keys/ca.pem" --tls-cert "$keys/own.pem" --tls-key "$keys/own.key" || code=$?
# shellcheck disable=SC2086
kill $begun 2>/dev/null || true
rm -f "$file"
exit "$code"
