"""The device and how XLA compiles for it: what the kernel needs of its environment, set before JAX starts.

By default XLA's CPU backend starts every fused operation of every step anew; with `LOOP` it compiles a small
loop as one function, which is worth a factor of 1.5 to 2.5. With `INTERLEAVE`, an option of LLVM's, a loop
goes through four vectors at once: the noise is a long chain of operations, each of which waits for the one
before it, and has 1.2 times the speed. Neither changes a bit of a result: the operations are fused as without
them. (XLA's option for fusions of several outputs is worth up to 1.2 more without noise and nothing with it,
compiles three times as long, and changes last bits: products are added in another order of rounding.) They
are read once, when JAX's backend starts.

Environment: `XLA_FLAGS` of the user are kept; `QIFSCAN_XLA_OPTIONS=0` leaves everything as it is.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

LOOP = "xla_cpu_small_while_loop_byte_threshold=1048576"
INTERLEAVE = "-force-vector-interleave=4"

OPTIONS = (f"{LOOP},{INTERLEAVE}", LOOP)
"""Extra options of the CPU backend, the first that it accepts are set. They are no flags of their own: as
such, XLA ends the process."""

GPU_BLOCKS = 4096
"""A million lanes: several for every thread that a large GPU holds."""

FLAG = "--xla_backend_extra_options"

PROBE = "import jax; jax.jit(lambda x: x + 1.0)(1.0).block_until_ready()"
PROBE_SECONDS = 60.0

logger = logging.getLogger("qifscan")

_lock = threading.Lock()
_prepared: list[str] = []


def prepare() -> str:
    """Set what the kernel needs, before JAX's backend starts; return in a word what came of it.

    `"set"`; `"kept"`, where XLA_FLAGS have such options already; `"off"`, on request; `"refused"` by this
    jaxlib; `"late"`, where JAX was running: that is told once, and the scan still runs.
    """
    with _lock:
        if not _prepared:
            _prepared.append(_prepare())
        return _prepared[0]


def _prepare() -> str:
    flags = os.environ.get("XLA_FLAGS", "")
    if os.environ.get("QIFSCAN_XLA_OPTIONS") == "0":
        return "off"
    if FLAG in flags:
        return "kept"
    choices = [f"{flags} {FLAG}={options}".strip() for options in OPTIONS]
    if _is_running():
        logger.warning(
            "JAX was running before the first scan, which will be about twice as slow for it; "
            'run a scan first, or set XLA_FLAGS="%s" before Python starts',
            choices[0],
        )
        return "late"
    accepted = next((choice for choice in choices if _accepted(choice)), None)
    if accepted is None:
        return "refused"
    os.environ["XLA_FLAGS"] = accepted
    return "set"


def blocks_at_once() -> int:
    """Return how many blocks of points the device runs side by side.

    A core goes through them one by one, each in its nearest cache; a GPU hides its latency behind many.
    """
    import jax

    return 1 if jax.default_backend() == "cpu" else GPU_BLOCKS


def _is_running() -> bool:
    """Whether the backend of JAX has started in this process, without starting it."""
    if "jax" not in sys.modules:
        return False
    from jax._src import xla_bridge

    # Not a public name of JAX; where it is gone, the options are set, and may come too late.
    started = getattr(xla_bridge, "backends_are_initialized", None)
    return bool(started and started())


def _accepted(flags: str) -> bool:
    """Whether this jaxlib starts with these flags: tried once in a process of its own, and remembered."""
    key = f"jaxlib {version('jaxlib')}, {flags}"
    path = _remembered_in(os.environ)
    known = _read(path)
    if key not in known:
        known[key] = _starts(flags)
        _write(path, known)
    return known[key]


def _starts(flags: str) -> bool:
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    try:
        probe = subprocess.run(
            [sys.executable, "-c", PROBE],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return probe.returncode == 0


def _remembered_in(environment: Mapping[str, str]) -> Path:
    base = environment.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "qifscan" / "xla.json"


def _read(path: Path) -> dict[str, bool]:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {key: value is True for key, value in known.items()} if isinstance(known, dict) else {}


def _write(path: Path, known: Mapping[str, bool]) -> None:
    # Two processes may do this at once: each leaves a whole file.
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(known), encoding="utf-8")
        partial.replace(path)
    except OSError:
        logger.debug("%s can't be written; the options are tried again next time", path)
