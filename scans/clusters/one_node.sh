#!/bin/bash
# A scan on one node, with threads: no Dask, no port, nothing on the login node but this line. When the time of the job
# is over it hands itself in again, until the scan is finished: what is there stays. It works as well where login
# nodes end long processes and firewalls close every port.
#
#   sbatch --time 2:00:00 one_node.sh scan.toml /shared/scan.zarr
#   qsub -l walltime=2:00:00 -v SCAN=scan.toml,STORE=/shared/scan.zarr one_node.sh
#
#SBATCH --job-name qifscan
#SBATCH --exclusive
#SBATCH --signal B:TERM@120
#PBS -N qifscan
set -eu
scan=${1:-${SCAN:?}} store=${2:-${STORE:?}}
python=${PYTHON:-python}
[ -z "${PBS_O_WORKDIR:-}" ] || cd "$PBS_O_WORKDIR"

again() {
    kill -INT "$run"  # chunks that are running end first
    wait "$run" || true
    if [ -n "${PBS_JOBID:-}" ]; then
        qsub -v "SCAN=$scan,STORE=$store" "$0"
    else
        sbatch "$0" "$scan" "$store"
    fi
    exit 0
}
trap again TERM

set -m  # a job in the background would ignore the interrupt otherwise
qifscan run "$scan" "$store" &
run=$!
wait "$run"
