"""What every test shares."""

import gc
import os
import signal
from pathlib import Path

# What one test has compiled, others take from here, in their own processes and in those that they start.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")

# The matrices are small, and threads of BLAS that wait for each other take the core from another test.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# A child that writes no bytecode compiles all of JAX, xarray and dask anew, and a hundred are started.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Before jax is imported anywhere: a machine with an accelerator must give the processor's numbers.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from qifscan.engine import backend

backend.prepare()

# All that is imported here is a million objects, and tracing makes garbage fast: by default a twelfth of the
# time goes to collecting it.
gc.set_threshold(50_000, 50, 100)

# A shell starts what it puts into the background with interrupts ignored, and what tests start inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)

LONG = (
    "test_same_everywhere.py",
    "test_observables.py",
    "test_extension.py",
    "test_bits.py",
    "test_backend.py",
    "test_docs.py",
    "test_workers.py",
    "test_scans.py",
    "test_cycles.py",
    "test_truth.py",
    "test_service.py",
    "test_explorer_browser.py",
    "test_objects.py",
    "test_faults.py",
    "test_family.py",
    "test_damage.py",
)
"""Files that take longest. They begin, so that none of them is left alone on one core in the end."""


def pytest_collection_modifyitems(items):
    order = {name: k for k, name in enumerate(LONG)}
    items.sort(key=lambda item: order.get(item.path.name, len(LONG)))
