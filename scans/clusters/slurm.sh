#!/bin/bash
# A scan on many nodes in one job of SLURM: a scheduler on the first of them, one worker a core on all. The login node
# has nothing to do, and nothing listens there. When the time is over the job hands itself in again, until the scan is
# finished: what is there stays.
#
#   sbatch --nodes 8 --time 2:00:00 slurm.sh scan.toml /shared/scan.zarr
#
#SBATCH --job-name qifscan
#SBATCH --ntasks-per-node 1
#SBATCH --exclusive
#SBATCH --signal B:TERM@120
set -eu
scan=$1 store=$2
python=${PYTHON:-python}
file=${store%/}.scheduler.json
export PJRT_NPROC=1

# Of the next job the same script takes the place of this one, if this one has not finished.
again() {
    sbatch "$0" "$scan" "$store"
    exit 0
}
trap again TERM

rm -f "$file"
"$python" -m distributed.cli.dask_scheduler --host "${SCHEDULER_HOST:-$(hostname)}" --port 0 --no-dashboard --scheduler-file "$file" &
scheduler=$!
srun "$python" -m distributed.cli.dask_worker --scheduler-file "$file" --nthreads 1 --nworkers "${SLURM_CPUS_ON_NODE:-1}" \
    --local-directory "${TMPDIR:-/tmp}" --no-dashboard --death-timeout 60 &
workers=$!
until [ -s "$file" ]; do sleep 0.2; done
address=$("$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["address"])' "$file")

qifscan run "$scan" "$store" --scheduler "$address" &
# A trap is run when a wait ends, and not while a command does.
code=0
wait $! || code=$?
kill "$workers" "$scheduler" 2>/dev/null || true
wait
rm -f "$file"
exit "$code"
