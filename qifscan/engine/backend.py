"""The device and how XLA compiles for it: what the kernel needs of its environment, set before JAX starts.

By default XLA's CPU backend starts every fused operation of every step anew. With `LOOP` it compiles a small
loop, one that moves less than a mebibyte a pass, as one function, worth a factor of 1.5 to 2.5; last bits
depend on that. Of a large loop it would copy what a delay remembers at every step, ten times as slow. With
`OUTPUTS` an operation over the block of points may have several results: a step is half as many passes over
the block, worth 1.2 to 1.8 without noise. `WIDTH` lets it use the widest vectors, and with `INTERLEAVE`, an
option of LLVM's, a loop goes through two of them at once: the noise is a long chain of operations, each of
which waits for the one before it. All of it in `benchmarks/speed.py`. With `ROLLED` no loop is unrolled
beyond that, which saves an eighth of the compilation and costs nothing. They are read once, when JAX's
backend starts.

`OUTPUTS` decides which products are rounded before they are added, and so the last bits. One set of options
is one set of bits.

Environment: `XLA_FLAGS` of the user are kept; `QIFSCAN_XLA_OPTIONS=0` leaves everything as it is.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from importlib.metadata import entry_points, version
from importlib.util import find_spec
from pathlib import Path

from qifscan import files
from qifscan.errors import RunError

FLAG = "--xla_backend_extra_options"
LOOP = "xla_cpu_small_while_loop_byte_threshold=1048576"
OUTPUTS = "xla_cpu_use_multi_output_fusion"
ROLLED = "xla_cpu_disable_loop_unrolling"
INTERLEAVE = "-force-vector-interleave=2"
WIDTH = "--xla_cpu_prefer_vector_width=512"

OPTIONS = (
    f"{WIDTH} {FLAG}={LOOP},{OUTPUTS},{ROLLED},{INTERLEAVE}",
    f"{FLAG}={LOOP},{OUTPUTS},{ROLLED}",
    f"{FLAG}={LOOP}",
)
"""Sets of options, the first that this jaxlib accepts is taken. Extra options are no flags of their own: as
such, XLA ends the process."""

GPU_BLOCKS = 4096
"""A million lanes: several for every thread that a large GPU holds."""

UNKNOWN = "unknown"

PROBE = "import jax; jax.jit(lambda x: x + 1.0)(1.0).block_until_ready()"
PROBE_SECONDS = 60.0

logger = logging.getLogger("qifscan")

_lock = threading.Lock()
_prepared: list[tuple[str, str]] = []
_forking: list[bool] = [False]
_forked: list[bool] = []


def _before_a_fork() -> None:
    # In the child JAX must not even be asked: a lock of it may be held there by a thread that is gone.
    _forking[0] = _running_on() is not None


def _after_a_fork() -> None:
    if _forking[0]:
        _forked.append(True)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_a_fork, after_in_child=_after_a_fork)


def check_not_forked() -> None:
    """Raise `RunError` in a process that was forked from one in which JAX was running: it would hang."""
    if _forked:
        raise RunError(
            "this process was forked from one in which JAX was running, where JAX hangs; start processes "
            'with multiprocessing.get_context("spawn"), or use qifscan.local_cluster'
        )


@contextmanager
def settings() -> Iterator[None]:
    """Set JAX's configuration to what the kernel needs, whatever the user has set, for this thread alone."""
    check_not_forked()
    import jax

    with ExitStack() as stack:
        for setting in (
            jax.enable_x64(True),
            jax.numpy_dtype_promotion("standard"),
            jax.numpy_rank_promotion("allow"),
            jax.debug_nans(False),
            jax.debug_infs(False),
            jax.disable_jit(False),
            jax.transfer_guard("allow"),
        ):
            stack.enter_context(setting)
        yield


def prepare() -> str:
    """Set what the kernel needs, before JAX's backend starts; return in a word what came of it.

    `"set"`; `"kept"`, where XLA_FLAGS have such options already; `"off"`, on request; `"refused"` by this
    jaxlib; `"late"`, where JAX was running on the CPU without them: the kernel then runs in processes of its
    own, and a warning says so once. `"gpu"`, where it was running on another device: that needs none of them.
    """
    with _lock:
        if not _prepared:
            came = _prepare()
            _prepared.append((came, _of_numbers(came)))
        return _prepared[0][0]


def options() -> str:
    """Return the options of XLA that the kernel runs with here, as far as last bits depend on them.

    Empty where there are none; `"unknown"` on a device that JAX had started before.
    """
    prepare()
    return _prepared[0][1]


def _of_numbers(came: str) -> str:
    if came == "gpu":
        return UNKNOWN
    given = flags() if came == "late" else os.environ.get("XLA_FLAGS", "")
    # If a flag is given twice, the last counts. Places of dumps and the number of devices change no result.
    chosen = dict(option.partition("=")[::2] for option in given.split())
    kept = {name: value for name, value in chosen.items() if name == FLAG or name.startswith("--xla_cpu_")}
    return " ".join(f"{name}={value}" for name, value in sorted(kept.items()))


def _prepare() -> str:
    if os.environ.get("QIFSCAN_XLA_OPTIONS") == "0":
        return "off"
    if FLAG in os.environ.get("XLA_FLAGS", ""):
        return "kept"
    running = _running_on()
    if running not in {None, "cpu"}:
        return "gpu"
    accepted = flags()
    if not accepted:
        return "refused"
    if running:
        logger.warning(
            "JAX was running before the first scan: scans of this process run in processes of their own, a "
            "second to start each, since speed and last bits depend on XLA's options; to do without, run a "
            'scan first, or set XLA_FLAGS="%s" before Python starts',
            accepted,
        )
        return "late"
    os.environ["XLA_FLAGS"] = accepted
    return "set"


@lru_cache(maxsize=1)
def flags() -> str:
    """Return XLA_FLAGS with the options that this jaxlib accepts and the user's; "" if it takes none."""
    # XLA takes the last of two flags of one name: the user's.
    choices = (f"{options} {os.environ.get('XLA_FLAGS', '')}".strip() for options in OPTIONS)
    return next((choice for choice in choices if _accepted(choice)), "")


def environment() -> dict[str, str]:
    """Return what a process of the kernel needs in its environment."""
    return {"XLA_FLAGS": flags(), "JAX_PLATFORMS": "cpu"}


def how_to_have(options: str) -> str:
    """Return what to do to compute with these options of XLA."""
    if not options:
        return "to have none, set QIFSCAN_XLA_OPTIONS=0 and no XLA_FLAGS before Python starts"
    return f'to have them, set XLA_FLAGS="{options}" before Python starts'


def blocks_at_once() -> int:
    """Return how many blocks of points the device runs side by side.

    A core goes through them one by one, each in its nearest cache; a GPU hides its latency behind many.
    """
    import jax

    return 1 if jax.default_backend() == "cpu" else GPU_BLOCKS


def device() -> str:
    """Return the device that this process runs the kernel on, such as `"cpu: ..."` or `"gpu: NVIDIA H100"`.

    JAX is loaded, and takes its device, only where something is installed by which it may find another than
    the processor. `RunError` if it can't.
    """
    return _other_device() or processor()


@lru_cache(maxsize=1)
def _other_device() -> str | None:
    if os.environ.get("JAX_PLATFORMS") == "cpu" or not _has_plugin():
        return None
    prepare()
    import jax

    try:
        found = jax.default_backend()
    except (RuntimeError, AssertionError) as error:
        reason = " ".join(str(error).split())[:160]
        advice = "mend it, or set JAX_PLATFORMS=cpu to use the processor"
        raise RunError(f"JAX can't start its device ({reason}); {advice}") from None
    return None if found == "cpu" else f"{found}: {jax.devices()[0].device_kind}"


def _has_plugin() -> bool:
    """Whether anything is installed by which JAX may find another device than the processor."""
    named = os.environ.get("PJRT_NAMES_AND_LIBRARY_PATHS")
    spaces = find_spec("jax_plugins") or find_spec("libtpu")
    return bool(named or spaces or entry_points(group="jax_plugins"))


@lru_cache(maxsize=1)
def processor() -> str:
    """Return the processor and its vector extensions, on which the last bits depend."""
    name, flags = platform.processor() or platform.machine(), set()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return f"cpu: {name}"
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            name = value.strip()
        if key.strip() == "flags":
            flags = {"avx2", "fma", "avx512f"} & set(value.split())
            break
    return f"cpu: {name} ({' '.join(sorted(flags)) or platform.machine()})"


def _running_on() -> str | None:
    """Return the device that the backend of JAX has started on in this process, without starting it."""
    if "jax" not in sys.modules:
        return None
    import jax
    from jax._src import xla_bridge

    # Not a public name of JAX; where it is gone, the options are set, and may come too late.
    started = getattr(xla_bridge, "backends_are_initialized", None)
    return jax.default_backend() if started and started() else None


def _accepted(flags: str) -> bool:
    """Whether this jaxlib starts with these flags: tried once in a process of its own, and remembered."""
    key = f"jaxlib {version('jaxlib')}, {flags}"
    path = _remembered_in(os.environ)
    known = _read(path)
    if known.get(key):
        return True
    # A probe may fail for a reason that passes: only what was accepted is remembered.
    if not _starts(flags):
        logger.warning(
            "jaxlib %s does not start with XLA's options %s: other options give other last bits",
            version("jaxlib"),
            flags,
        )
        return False
    _write(path, known | {key: True})
    return True


def _starts(flags: str) -> bool:
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    try:
        probe = subprocess.run(
            [sys.executable, "-P", "-c", PROBE],
            env=isolated(environment),
            cwd=sys.prefix,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return probe.returncode == 0


def isolated(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which Python looks for modules in no folder that is named relative to
    another: a file of the user's may have the name of one that is imported."""
    folders = environment.get("PYTHONPATH", "").split(os.pathsep)
    kept = os.pathsep.join(folder for folder in folders if os.path.isabs(folder))
    return {**environment, "PYTHONPATH": kept}


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
    try:
        files.write(path, json.dumps(known).encode())
    except OSError:
        logger.debug("%s can't be written; the options are tried again next time", path)
