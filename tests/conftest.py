"""What every test shares."""

import os

# Before jax is imported anywhere: a machine with an accelerator must give the processor's numbers.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from qifscan.engine import backend

backend.prepare()
