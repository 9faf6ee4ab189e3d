"""A scan in a Kubernetes cluster, by the operator of Dask. Untested: there was no Kubernetes to try it on.

Workers and this script must see one folder: a volume that many can write to (ReadWriteMany), here the claim
`scans`, mounted at /scans. The image must have this version of qifscan. Run it in a pod of its own, with that
volume.

    pip install dask-kubernetes
    python kubernetes.py scan.toml /scans/scan.zarr IMAGE
"""

import sys

from dask_kubernetes.operator import KubeCluster, make_cluster_spec
from distributed import Client

import qifscan as qs


def main(scan, store, image):
    """Run a scan with at most 100 workers of one core."""
    spec = make_cluster_spec(name="qifscan", image=image, env={"PJRT_NPROC": "1"})
    worker = spec["spec"]["worker"]["spec"]
    worker["volumes"] = [{"name": "scans", "persistentVolumeClaim": {"claimName": "scans"}}]
    worker["containers"][0]["volumeMounts"] = [{"name": "scans", "mountPath": "/scans"}]
    worker["containers"][0]["args"] += ["--nthreads", "1"]
    with KubeCluster(custom_cluster_spec=spec) as cluster, Client(cluster) as client:
        cluster.adapt(minimum=0, maximum=100)
        qs.run(qs.Scan.from_toml(scan), store, client=client)


if __name__ == "__main__":
    main(*sys.argv[1:])
