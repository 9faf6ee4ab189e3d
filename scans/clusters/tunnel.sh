#!/bin/bash
# Watch, and drive from your own machine, a cluster behind closed ports: two fixed ports, through the login node, by ssh.
# Untested: there was no such cluster to try it on.
#
# On the cluster, in a job: dask scheduler --port 8786 --no-dashboard, and workers as in slurm.sh.
# On your machine, with the node that the scheduler runs on:
#
#   bash tunnel.sh you@login.cluster node17 scan.toml /shared/scan.zarr
#
# The store's path is one of the cluster: workers write it, and here it must be there as well (sshfs), as the driver
# makes it and reads it. Where that can't be, use slurm.sh or one_node.sh: they need no port at all.
set -eu
ssh -N -o ExitOnForwardFailure=yes -L "127.0.0.1:8786:$2:8786" "$1" &
tunnel=$!
trap 'kill $tunnel' EXIT
until (: >/dev/tcp/127.0.0.1/8786) 2>/dev/null; do sleep 0.5; done
qifscan run "$3" "$4" --scheduler tcp://127.0.0.1:8786
