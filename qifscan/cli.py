"""The command `qifscan`: a few lines over the Python API."""

from __future__ import annotations

import atexit
import gc
import importlib.util
import os
import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

import qifscan
from qifscan.errors import Fault, QifscanError, RunInterrupted, ScanError
from qifscan.files import Where
from qifscan.place import local, located, picture, with_ending
from qifscan.printed import printable

if TYPE_CHECKING:
    from qifscan.scan.scan import Scan


class _Given(str):
    """The place of a store as it was typed: a `Path` would make one slash of the two of a URL."""


_PLACE = click.types.FuncParamType(_Given)
_PLACE.name = "path"

Command = TypeVar("Command", bound=Callable[..., Any])

GARBAGE_THRESHOLD = 100_000
"""New objects after which Python looks for garbage, in place of 700."""

BAD_INPUT = 2
INTERRUPTED = 130


def _clear_errors(command: Command) -> Command:
    """Turn what is wrong with a request into one line each on standard error, without a traceback.

    Every path that a command gets comes through here.
    """

    @wraps(command)
    def guarded(*arguments: Any, **options: Any) -> Any:
        try:
            paths: dict[str, Any] = {n: local(n, x) for n, x in options.items() if isinstance(x, Path)}
            paths |= {n: located(n, x) for n, x in options.items() if isinstance(x, _Given)}
            return command(*arguments, **options | paths)
        except QifscanError as error:
            for line in str(error).splitlines():
                _say(f"error: {line}", err=True)
            sys.exit(INTERRUPTED if isinstance(error, RunInterrupted) else BAD_INPUT)

    return guarded  # type: ignore[return-value]


def _say(text: str, err: bool = False) -> None:
    for line in text.splitlines():
        click.echo(printable(line), err=err)


@click.group()
@click.version_option(qifscan.__version__, prog_name="qifscan")
def main() -> None:
    """Scan the mean field of quadratic integrate-and-fire neurons over its parameters.

    SCAN is a TOML file, STORE the dataset that a run of it made. Where a command takes a store and gets a
    scan, it takes the store of that name in this folder (bistability.toml: bistability.zarr).
    """


_SCAN = click.argument("scan", type=click.Path(path_type=Path))
_STORE = click.argument("store", type=_PLACE, metavar="SCAN_OR_STORE")
_WORKERS = click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Threads; by default one a core, two on a GPU. Of a scheduler: workers to wait for.",
)
_CHUNK = click.option(
    "--chunk-points", type=click.IntRange(min=1), help="Points wanted in a chunk of a new store."
)
_FILE = click.Path(path_type=Path)
_NO_CHECKPOINT = click.option(
    "--no-checkpoint", is_flag=True, help="Don't keep what a longer window goes on from."
)


@main.command()
@_SCAN
@_WORKERS
@_CHUNK
@_NO_CHECKPOINT
@click.option("--no-probe", is_flag=True, help="Don't run a part of the scan for its time and memory.")
@click.option("--json", "as_json", is_flag=True, help="Print the resolved scan as JSON instead.")
@_clear_errors
def plan(
    scan: Path,
    workers: int | None,
    chunk_points: int | None,
    no_checkpoint: bool,
    no_probe: bool,
    as_json: bool,
) -> None:
    """Tell what SCAN will take before it runs.

    Points, chunks, disk, memory and time; nothing is written.
    """
    resolved = _scan_of(scan)
    if as_json:
        click.echo(resolved.to_json())
        return
    made = qifscan.plan(
        resolved,
        workers=workers,
        chunk_points=chunk_points,
        checkpoint=not no_checkpoint,
        probe=not no_probe,
    )
    _say(str(made))
    made.check(Path.cwd())


@main.command()
@_SCAN
@click.argument("store", type=_PLACE, required=False)
@_WORKERS
@_CHUNK
@click.option("--extend", type=_PLACE, metavar="OLD", help="Store to take over what it has of SCAN.")
@_NO_CHECKPOINT
@click.option("--client", default="auto", help='"threads", "serial", or the address of a Dask scheduler.')
@click.option("--scheduler", metavar="ADDRESS", help="Dask scheduler; with --workers, when it has so many.")
@click.option("--tls-ca", type=_FILE, help="Of a scheduler at tls://: the authority's certificate.")
@click.option("--tls-cert", type=_FILE, help="The own certificate.")
@click.option("--tls-key", type=_FILE, help="Its key.")
@click.option("--first", multiple=True, metavar="NAME=LOW:HIGH", help="Region to compute before the rest.")
@click.option("--allow-mixed", is_flag=True, help="Take chunks with other last bits, which then say so.")
@_clear_errors
def run(
    scan: Path,
    store: Any,
    extend: Any,
    no_checkpoint: bool,
    client: str,
    scheduler: str | None,
    first: tuple[str, ...],
    **options: Any,
) -> None:
    """Run SCAN into STORE; what is there already stays.

    Without STORE, the store has the name of the scan and lies in this folder. If it is there already,
    only the rest is computed. With --extend, the points that SCAN has in common with the store OLD are taken
    from there; over a longer window than that of OLD they go on from there.
    """
    from qifscan.runs.cluster import given_client
    from qifscan.runs.driver import execute
    from qifscan.runs.order import given_region

    definition = _scan_of(scan)
    target = store or _default_store(scan)
    tls = tuple(options.pop(name) for name in ("tls_ca", "tls_cert", "tls_key"))
    execute(
        definition,
        str(target),
        extend=None if extend is None else str(extend),
        checkpoint=not no_checkpoint,
        client=given_client(client, scheduler, tls),
        progress="auto",
        first=given_region(first),
        **options,
    )
    _report(target)


@main.command()
@_SCAN
@click.argument("output", type=_PLACE, required=False)
@click.option("--figure", type=click.Path(path_type=Path), metavar="PNG", help="Draw it, too.")
@_clear_errors
def bifurcate(scan: Path, output: Any, figure: Path | None) -> None:
    """Compute the theory of SCAN without simulating it.

    Every equilibrium on its axes, and every fold, Hopf point and point of codimension two along them, as a
    dataset of its own: OUTPUT, by default the name of the scan with -theory.zarr in this folder. If OUTPUT is
    the store of the scan, it is written into that.
    """
    from qifscan.store.theory_group import check_target, write_theory
    from qifscan.theory.of_scan import atlas, check, summary

    definition = _scan_of(scan)
    target = output or with_ending(Path(scan.name), "-theory.zarr", (".toml",))
    drawn = None if figure is None else _picture(figure)
    check(definition)
    found = atlas(check_target(target, definition))
    write_theory(target, found)
    for line in [f"theory        {target}", *summary(found)]:
        _say(line)
    if drawn is not None:
        _save(qifscan.show(str(target)), drawn)


@main.command()
@_STORE
@click.option("--watch", is_flag=True, help="Again every few seconds, until the run has ended.")
@_clear_errors
def status(store: Any, watch: bool) -> None:
    """Tell how far the run of a store is.

    With how its points ended, and while it runs its speed, workers and failures; from any machine that sees
    the store.
    """
    from qifscan.runs.watch import WAIT, goes_on

    path = _store_of(store)
    while True:
        if watch and sys.stdout.isatty():
            click.clear()
        _report(path)
        if not (watch and goes_on(path)):
            return
        time.sleep(WAIT)


@main.command()
@_STORE
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="The picture; by default beside the store."
)
@click.option(
    "-v", "--observable", "observables", metavar="NAME", multiple=True, help="Row of panels; may be repeated."
)
@click.option("--x", metavar="NAME", help="Dimension across.")
@click.option("--y", metavar="NAME", help='Dimension up; "" draws lines over x.')
@click.option("--facet", metavar="NAME", help="Dimension of the columns.")
@click.option(
    "--select", multiple=True, metavar="NAME=VALUE", help="Value of a further dimension; may be repeated."
)
@click.option("--no-folds", is_flag=True, help="Leave the exact folds out.")
@_clear_errors
def show(
    store: Any,
    output: Path | None,
    observables: tuple[str, ...],
    x: str | None,
    y: str | None,
    facet: str | None,
    select: tuple[str, ...],
    no_folds: bool,
) -> None:
    """Draw a store as maps or lines into a PNG.

    The exact folds (saddle-node bifurcations) of the model are drawn over the observables.
    """
    source = _store_of(store)
    # The picture of a store that is elsewhere is saved in this folder.
    beside = source if isinstance(source, Path) else Path(source.name)
    target = _picture(output or with_ending(beside, ".png", (".zarr", ".zip")))
    figure = qifscan.show(
        str(source), observables or None, x=x, y=y, facet=facet, select=_selection(select), folds=not no_folds
    )
    _save(figure, target)


@main.command()
@_STORE
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port; by default a free one.")
@click.option("--no-browser", is_flag=True, help="Print the address alone.")
@_clear_errors
def explore(store: Any, port: int, no_browser: bool) -> None:
    """Look at a store or a scan in the browser.

    A click on the map shows the trajectory, the phase plane and the exact diagram there. The page is served
    on this machine alone, until Ctrl-C.
    """
    explorer = qifscan.explore(str(store), port=port)
    _say(f"explorer      {explorer.url}")
    _say("to end        Ctrl-C")
    if not no_browser:
        explorer.open()
    explorer.wait()
    _say("explorer      ended")


@main.command()
@click.argument("model", required=False)
@_clear_errors
def models(model: str | None) -> None:
    """List the models, or describe one.

    MODEL is its name, or package.module:variable for one of your own. It is described by its equations,
    variables and parameters with units, defaults and domains; `names` lists what a scan of it takes.
    """
    from qifscan.dynamics.models import model_named

    _say(str(qifscan.models() if model is None else model_named(model)))


@main.command()
@click.argument("model", default="qif")
@_clear_errors
def names(model: str) -> None:
    """List every name that a scan of MODEL takes.

    Models, parameters, observables, integrators, drives, and the keys of a scan and its protocol; with units
    and meanings.
    """
    from qifscan.runs.names import listed

    for line in listed(model):
        _say(line)


def _picture(path: Path) -> Path:
    """Return the file of a picture; raise `ScanError` if its folder is not there."""
    # matplotlib would add the ending by itself, and we would name a file that is not there.
    target = picture(path)
    if not target.absolute().parent.is_dir():
        raise ScanError([Fault(str(target), "no such folder", "a file in a folder that is there")])
    return target


def _save(figure: Any, target: Path) -> None:
    try:
        figure.savefig(target)
    except (OSError, ValueError) as error:
        reason = str(getattr(error, "strerror", None) or error)
        raise ScanError([Fault(str(target), f'"{reason}"', "a picture that can be written")]) from None
    _say(f"figure        {target}")


@main.command()
@_STORE
@click.option(
    "--points",
    default=256,
    show_default=True,
    type=click.IntRange(min=0),
    help="Points to compute again.",
)
@click.option("--repair", is_flag=True, help="Take damaged chunks back, so that a run computes them again.")
@_clear_errors
def verify(store: Any, points: int, repair: bool) -> None:
    """Read a store through, and compute a sample of it again.

    Every finished chunk is read, with its checksum; points drawn at random are computed again and compared
    bit for bit, with half the step in float64, and with an adaptive solver that shares no code; what has come
    to rest is compared with the exact equilibria. The exit code is 1 if anything is wrong.
    """
    verdict = qifscan.verify(str(_store_of(store)), points=points, repair=repair)
    _say(str(verdict))
    sys.exit(0 if verdict.sound else 1)


@main.command()
@click.argument("store", type=_PLACE)
@click.argument("packed", type=_PLACE, required=False)
@_clear_errors
def pack(store: Any, packed: Any) -> None:
    """Copy a finished STORE into few files, to be read only.

    PACKED is by default the name of the store with .packed.zarr, beside it; with the ending .zip it is one
    file. No bit changes, and `unpack` makes a store of it again.
    """
    _say(f"packed        {qifscan.pack(str(store), None if packed is None else str(packed))}")


@main.command()
@click.argument("packed", type=_PLACE)
@click.argument("store", type=_PLACE, required=False)
@_clear_errors
def unpack(packed: Any, store: Any) -> None:
    """Make a STORE again of what `pack` has made."""
    _say(f"dataset       {qifscan.unpack(str(packed), None if store is None else str(store))}")


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0: any.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    help="File with the token of each request; made if it is not there. Needed beyond this machine.",
)
@click.option(
    "--name",
    "names",
    multiple=True,
    metavar="HOST",
    help="Further name that it is reached by, as by a proxy.",
)
@click.option(
    "--origin", "origins", multiple=True, metavar="URL", help="Origin whose pages may read from it (CORS)."
)
@click.option(
    "--scheduler", metavar="ADDRESS", help="Dask scheduler whose workers compute; else this machine."
)
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(min=1), help="Jobs at once.")
@click.option(
    "--limit-points",
    default=10_000_000,
    show_default=True,
    type=click.IntRange(min=1),
    help="Most points of a scan.",
)
@click.option(
    "--own", multiple=True, metavar="MODULE:NAME", help="Model or observable of your own that may be named."
)
@_clear_errors
def serve(folder: Path, limit_points: int, jobs: int, own: tuple[str, ...], **options: Any) -> None:
    """Serve the stores in FOLDER, and run scans that are sent to it.

    Over HTTP: with qifscan.Client in Python, xarray.open_zarr, any client of OGC API - Processes, or a
    browser. Only this machine reaches it unless --host says otherwise. It needs the extra: qifscan[serve].
    """
    try:
        from qifscan.service.bounds import Bounds
        from qifscan.service.serve import Address, serve
    except ModuleNotFoundError as error:
        raise QifscanError(
            f'the server needs {error.name}, which is not installed; pip install "qifscan[serve]"'
        ) from None
    place = Address(options.pop("host"), options.pop("port"), options.pop("names"))
    bounds = Bounds(jobs=jobs, points=limit_points, own=own)
    serve(folder, place, bounds=bounds, pages=_pages(), say=_say, **options)


def _pages() -> Any:
    """Return what gives the routes of the explorer, None where it is not installed."""
    if importlib.util.find_spec("qifscan.explorer") is None:
        return None
    return importlib.import_module("qifscan.explorer.routes").routes


def _scan_of(path: Path) -> Scan:
    if path.is_dir():
        raise ScanError(
            [Fault(str(path), "a folder", "a TOML file of a scan", "give the scan, not its store")]
        )
    return qifscan.Scan.from_toml(path)


def _default_store(path: Path) -> Path:
    return with_ending(Path(path.name), ".zarr", (".toml",))


def _store_of(path: Where) -> Where:
    """Return the store that is meant: the path, or for a scan the store of its name in this folder."""
    if not isinstance(path, Path) or path.suffix.lower() != ".toml":
        return path
    if path.is_file():
        # A model of one's own is imported when it is named in a scan, not when a store names it.
        _scan_of(path)
    return _default_store(path)


def _report(store: Where) -> None:
    from qifscan.runs.watch import lines

    for line in lines(store):
        _say(line)


def _selection(pairs: tuple[str, ...]) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator:
            raise ScanError([Fault("--select", f'"{pair}"', "NAME=VALUE, such as delta=1")])
        try:
            chosen[name] = float(value)
        except ValueError:
            chosen[name] = value
    return chosen


def script() -> NoReturn:
    """Run the command and end the process, without half a second for taking jax and xarray apart."""
    # Objects made while modules load and JAX traces live on: collecting garbage among them took 0.25 s.
    gc.set_threshold(GARBAGE_THRESHOLD)
    code = 0
    try:
        main()
    except SystemExit as ended:
        if not isinstance(ended.code, int):
            raise
        code = ended.code
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
