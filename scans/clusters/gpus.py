"""A scan on every GPU of one machine: one process a GPU, as each takes most of the memory of its device.

python gpus.py scan.toml scan.zarr [number of GPUs]
"""

import os
import sys

from distributed import Client, Nanny, Scheduler, SpecCluster

import qifscan as qs


def cluster_of(count):
    """Return a cluster on loopback with a worker on each GPU; a worker that is started again has the same."""
    here = {"host": "127.0.0.1", "dashboard": False}
    workers = {
        number: {
            "cls": Nanny,
            "options": {
                **here,
                "nthreads": 2,  # while one chunk runs, the other is prepared or written
                "env": {"CUDA_VISIBLE_DEVICES": str(number), "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.9"},
            },
        }
        for number in range(count)
    }
    return SpecCluster(scheduler={"cls": Scheduler, "options": {**here, "port": 0}}, workers=workers)


def main(scan, store, count=None):
    """Run a scan on so many GPUs; without a number on those that CUDA_VISIBLE_DEVICES names, or on one."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")
    with cluster_of(int(count or len(named))) as cluster, Client(cluster) as client:
        qs.run(qs.Scan.from_toml(scan), store, client=client)


if __name__ == "__main__":
    main(*sys.argv[1:])
