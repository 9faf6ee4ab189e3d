"""A Dask cluster of processes on this machine, on loopback alone."""

from __future__ import annotations

import ast
import inspect
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qifscan.errors import Fault, ScanError, check_count, near, show
from qifscan.lazy import LazyModule
from qifscan.machine import usable_cores

if TYPE_CHECKING:
    import distributed
else:
    distributed = LazyModule("distributed")


def local_cluster(workers: int | None = None, **options: Any) -> Any:
    """Start a Dask cluster of single-threaded processes on this machine and return its client.

    Parameters
    ----------
    workers
        Number of processes; by default the cores of this machine. On a GPU give 1: each process takes most of
        the memory of the device for itself.
    **options
        Further options of `distributed.LocalCluster`.

    Returns
    -------
    distributed.Client
        A client on loopback only; use it in a `with` statement, which also ends the cluster.

    Raises
    ------
    ScanError
        If `workers` is not a count, an option is not one of Dask's, or a script calls this outside of
        `if __name__ == "__main__":`, as the processes import the script.

    Examples
    --------
    >>> import qifscan as qs
    >>> with qs.local_cluster(2):  # doctest: +SKIP
    ...     found = qs.run(qs.Scan(axes={"eta": [-6.0, -4.0]}), "two_points.zarr")
    """
    if workers is not None:
        check_count("workers", workers)
    if options.get("processes", True):
        _check_main_guard()
    # XLA would start a pool of a thread a core in each of the processes.
    environment = {"PJRT_NPROC": "1"}
    # Without an address distributed wants port 8787, and warns where another cluster has it.
    page = options.pop("dashboard_address", None)
    scheduler = {"dashboard": page is not None} | options.pop("scheduler_kwargs", {})
    chosen = {
        "n_workers": workers or usable_cores(),
        "threads_per_worker": 1,
        "host": "127.0.0.1",
        "dashboard_address": page or "127.0.0.1:0",
        "scheduler_kwargs": scheduler,
        "env": environment | options.pop("env", {}),
    }
    _check_options(options)
    return _started(chosen | options)


def _started(options: Mapping[str, Any]) -> Any:
    """Return a client that starts its cluster itself, and so ends it; leave none behind where that fails."""
    before = _default()
    try:
        return distributed.Client(**options)
    except BaseException:
        # By now it is the one that every computation of dask asks, and without workers that waits for ever.
        left = _default()
        if left is not None and left is not before:
            left.close()
        raise


def _default() -> Any:
    try:
        return distributed.default_client()
    except ValueError:
        return None


def _check_options(options: Mapping[str, Any]) -> None:
    """Raise `ScanError` for an option that nothing of Dask takes: a worker would fail by it without end."""
    takers = (distributed.Client, distributed.LocalCluster, distributed.Nanny, distributed.Worker)
    known = {name for taker in takers for name in inspect.signature(taker.__init__).parameters}
    faults = [
        Fault(
            "local_cluster", f"an option {show(name)}", "one of distributed.LocalCluster", near(name, known)
        )
        for name in options
        if name not in known
    ]
    if faults:
        raise ScanError(faults)


def _check_main_guard() -> None:
    """Raise `ScanError` where a script would be run again by the processes that it is about to start."""
    frame: Any = sys._getframe()
    while frame is not None:
        is_main = frame.f_globals.get("__name__") in ("__main__", "__mp_main__")
        if (
            is_main
            and frame.f_code.co_name == "<module>"
            and _is_bare(frame.f_code.co_filename, frame.f_lineno)
        ):
            file = os.path.basename(frame.f_code.co_filename)
            found = f"line {frame.f_lineno} of {file}, which every process runs"
            expected = 'a call under if __name__ == "__main__":'
            raise ScanError([Fault("local_cluster", found, expected)])
        frame = frame.f_back


def _is_bare(file: str, line: int) -> bool:
    """Whether a line of a script is run whenever the script is imported: it is in no `if`."""
    try:
        statements = ast.parse(Path(file).read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        # Given by -c or in a notebook: there is nothing that a process could import.
        return False
    here = [s for s in ast.walk(ast.Module(statements, [])) if isinstance(s, ast.If)]
    return not any(s.lineno <= line <= (s.end_lineno or s.lineno) for s in here)
