"""What every test shares."""

import os

# Before jax is imported anywhere: a machine with an accelerator must give the processor's numbers.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from qifscan.engine import backend

backend.prepare()

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
)
"""Files that take longest. They begin, so that none of them is left alone on one core in the end."""


def pytest_collection_modifyitems(items):
    order = {name: k for k, name in enumerate(LONG)}
    items.sort(key=lambda item: order.get(item.path.name, len(LONG)))
