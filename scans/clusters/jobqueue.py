"""A scan with workers that come and go as the queue gives them: SLURM or PBS, by dask-jobqueue.

Run it where a process may live for long: in a job of its own, or on a machine of yours. On guarded login
nodes `slurm.sh` and `one_node.sh` do without.

    pip install dask-jobqueue
    python jobqueue.py slurm scan.toml /shared/scan.zarr [most workers]
"""

import sys

import dask_jobqueue
from distributed import Client

import qifscan as qs

KINDS = {"slurm": dask_jobqueue.SLURMCluster, "pbs": dask_jobqueue.PBSCluster}


def main(kind, scan, store, most=100):
    """Run a scan with at most so many workers, each of them a job of one core."""
    cluster = KINDS[kind](
        cores=1,
        processes=1,
        memory="4GB",
        walltime="01:00:00",
        # Before its time is over a worker hands its chunk back, and not all of them at once.
        worker_extra_args=["--lifetime", "55m", "--lifetime-stagger", "4m"],
        job_script_prologue=["export PJRT_NPROC=1"],
        scheduler_options={"dashboard": False},
    )
    with cluster, Client(cluster) as client:
        cluster.adapt(minimum=0, maximum=int(most))
        qs.run(qs.Scan.from_toml(scan), store, client=client)


if __name__ == "__main__":
    main(*sys.argv[1:])
