"""What the kernel needs of its device and of XLA: set in time, the user's where it is, no bit changed."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import qifscan as qs
from qifscan.engine import backend, child, compiler
from qifscan.engine.points import Points, run_points
from qifscan.engine.schedule import BLOCK, Schedule, batch_shape
from qifscan.errors import RunError


def run(code, home, **environment):
    """Run Python in a process of its own with an empty home; return its standard output and error."""
    kept = {name: value for name, value in os.environ.items() if name not in {"XLA_FLAGS", "XDG_CACHE_HOME"}}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, "HOME": str(home), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout, done.stderr


PREPARE = (
    "import os; from qifscan.engine import backend; print(backend.prepare(), os.environ.get('XLA_FLAGS'))"
)


def test_the_options_are_set_and_what_was_tried_is_remembered(tmp_path):
    out, _ = run(PREPARE, tmp_path)
    assert out == f"set {backend.OPTIONS[0]}\n"
    remembered = json.loads((tmp_path / ".cache" / "qifscan" / "xla.json").read_text())
    assert list(remembered.values()) == [True]
    untried = "from qifscan.engine import backend; backend._starts = None; print(backend.prepare())"
    assert run(untried, tmp_path)[0] == "set\n"


def test_the_options_are_set_before_anything_asks_jax_for_its_device(tmp_path):
    """Also where a wide batch takes a narrow block for two points that burst, which depends on the device."""
    code = """
import numpy as np
import qifscan as qs
from qifscan.engine import backend, batch
batch.WORTH_COMPILING = 1.0
starts = {"r_initial": [*np.linspace(0.1, 0.2, 98), 3.0, 9.0], "v_initial": [*np.full(98, -1.0), 40.0, 90.0]}
qs.plan(qs.Scan(points=starts, protocol=qs.Protocol(transient=0.0, window=20.0)))
print(backend.prepare())
"""
    out, errors = run(code, tmp_path)
    assert out == "set\n"
    assert "JAX was running" not in errors


def test_flags_of_the_user_are_kept(tmp_path):
    out, _ = run(PREPARE, tmp_path, XLA_FLAGS="--xla_cpu_enable_fast_math=false")
    assert out == f"set {backend.OPTIONS[0]} --xla_cpu_enable_fast_math=false\n"
    for flags in ("--xla_backend_extra_options=xla_cpu_small_while_loop_byte_threshold=5", backend.FLAG):
        assert run(PREPARE, tmp_path, XLA_FLAGS=flags)[0] == f"kept {flags}\n"
    assert run(PREPARE, tmp_path, QIFSCAN_XLA_OPTIONS="0")[0] == "off None\n"


def test_a_jaxlib_that_refuses_the_options_goes_without(tmp_path):
    """It ends the process, as XLA does with a flag that it does not know."""
    unknown = (
        "backend.OPTIONS = ('--xla_no_such_flag=1',); print(backend.prepare(), os.environ.get('XLA_FLAGS'))"
    )
    out, _ = run(f"import os; from qifscan.engine import backend; {unknown}", tmp_path)
    assert out == "refused None\n"


def test_where_one_option_is_refused_the_others_are_set(tmp_path):
    """LLVM too ends the process at an option that it does not know."""
    unknown = "backend.OPTIONS = (f'{backend.FLAG}={backend.LOOP},-no-such-option=4', backend.OPTIONS[2])"
    out, _ = run(f"{PREPARE.replace('print', unknown + '; print')}", tmp_path)
    assert out == f"set {backend.FLAG}={backend.LOOP}\n"


@pytest.mark.parametrize(
    "broken",
    ["{", *(pytest.param(each, marks=pytest.mark.thorough) for each in ("[1, 2]", '{"another": 1}'))],
)
def test_what_is_remembered_may_be_broken_or_not_writable(tmp_path, broken):
    (tmp_path / "qifscan").mkdir()
    (tmp_path / "qifscan" / "xla.json").write_text(broken)
    assert run(PREPARE, tmp_path, XDG_CACHE_HOME=str(tmp_path))[0].startswith("set")
    assert run(PREPARE, tmp_path, XDG_CACHE_HOME="/dev/null")[0].startswith("set")


@pytest.mark.parametrize(
    "name",
    [
        *(pytest.param(f"{each}.py", marks=pytest.mark.thorough) for each in ("random", "glob", "jax")),
        "numpy.py",
    ],
)
def test_the_probe_runs_no_file_of_the_folder_it_is_called_in(tmp_path, name):
    """A file that has the name of a module ends what imports it: the probe must not see it."""
    folder, home = tmp_path / "work", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    (folder / name).write_text("raise SystemExit(3)")
    code = (
        f"import os; from qifscan.engine import backend; os.chdir({str(folder)!r}); print(backend.prepare())"
    )
    places = os.pathsep.join((".", str(Path(qs.__file__).parents[1])))
    assert run(code, home, PYTHONPATH=places)[0] == "set\n"


def test_a_probe_that_failed_is_tried_again(tmp_path):
    failed = (
        "from qifscan.engine import backend; backend._starts = lambda flags: False; print(backend.prepare())"
    )
    out, err = run(failed, tmp_path)
    assert "set" not in out.split()
    assert "does not start with XLA's options" in err
    assert run(PREPARE, tmp_path)[0] == f"set {backend.OPTIONS[0]}\n"


STRICT = """
import jax
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_nans", True)
jax.config.update("jax_disable_jit", True)
jax.config.update("jax_transfer_guard", "disallow")
"""
OBSERVED = """
import numpy as np
import qifscan as qs
SCAN = qs.Scan(
    axes={"eta": np.linspace(-6.0, -3.0, 20)}, fixed={"v_ou_sigma": 0.3},
    protocol=qs.Protocol(transient=1.0, window=30.0), observables=["r_mean", "v_std", "r_frequency"],
)
found = qs.run(SCAN, "found.zarr", client="serial").load()
assert found["r_frequency"].isnull().any()
print([found[name].values.tobytes().hex() for name in ("r_mean", "v_std", "status")])
pop = qs.QIF(3, eta=-5.0)
pop.update(1.0)
print(np.asarray(pop.x).tobytes().hex())
"""


@pytest.mark.thorough
def test_the_settings_of_the_user_s_jax_change_no_bit(tmp_path):
    """An observable that is NaN by design, with settings that refuse NaN, transfers and promotion."""
    for name in ("plain", "strict"):
        (tmp_path / name).mkdir()
    bits = [
        run(f"import os; os.chdir({str(tmp_path / name)!r})\n{before}{OBSERVED}", tmp_path)[0]
        for name, before in (("plain", ""), ("strict", STRICT))
    ]
    assert bits[0] == bits[1]
    assert len(bits[0]) > 200


@pytest.mark.skipif(backend._has_plugin(), reason="a plugin of JAX is installed")
def test_jax_is_loaded_for_a_device_only_where_it_may_find_another(tmp_path):
    """Here a plugin of JAX is installed that has no device."""
    told = (
        "import sys; from qifscan.engine import backend; print(backend.device()); print('jax' in sys.modules)"
    )
    here = backend.processor()
    assert here.startswith("cpu: ")
    assert run(told, tmp_path, JAX_PLATFORMS="")[0] == f"{here}\nFalse\n"
    plugin = tmp_path / "site" / "jax_plugins" / "none"
    plugin.mkdir(parents=True)
    (plugin / "__init__.py").write_text("def initialize():\n    pass\n")
    site = str(plugin.parents[1])
    assert run(told, tmp_path, PYTHONPATH=site, JAX_PLATFORMS="")[0] == f"{here}\nTrue\n"
    assert run(told, tmp_path, PYTHONPATH=site, JAX_PLATFORMS="cpu")[0] == f"{here}\nFalse\n"
    failing = told.replace("print(backend.device())", "import qifscan; backend.device()")
    with pytest.raises(subprocess.CalledProcessError) as caught:
        run(failing, tmp_path, PYTHONPATH=site, JAX_PLATFORMS="cuda")
    last = caught.value.stderr.splitlines()[-1]
    assert last.startswith("qifscan.errors.RunError: JAX can't start its device (")
    assert last.endswith("set JAX_PLATFORMS=cpu to use the processor")


SCAN = """
import qifscan as qs
scan = qs.Scan(
    axes={"eta": [-6.0, -5.0, -1.0], "v_ou_sigma": [0.0, 0.5]}, fixed={"r_ou_sigma": 0.01}, replicates=4,
    drive=qs.Sine(amplitude=1.0, period=7.0),
    protocol=qs.Protocol(transient=3.0, window=40.0, tolerance=1e-5),
    observables=["r_mean", "r_std", "r_max", "v_min", "up_fraction"],
)
dataset = qs.run(scan, "scan.zarr", client="serial")
for name in sorted(dataset.data_vars):
    print(name, dataset[name].values.tobytes().hex())
"""


@pytest.fixture(scope="module")
def bits(tmp_path_factory):
    """What a process prints that ran the scan with the options set in time."""
    home = tmp_path_factory.mktemp("in time")
    return run(f"import os; os.chdir({str(home)!r}){SCAN}", home)[0]


@pytest.mark.thorough
@pytest.mark.parametrize("client", ["serial", "threads"])
def test_where_jax_was_running_a_scan_has_the_same_bits_and_one_line_says_so(tmp_path, bits, client):
    """Of every variable, with noise, drive, and points that are run again at a finer step."""
    early = "import jax.numpy as jnp; jnp.ones(2).sum()"
    code = f"{early}; import os; os.chdir({str(tmp_path)!r}){SCAN.replace('serial', client)}"
    out, error = run(code, tmp_path)
    assert bits.count("\n") > 10
    assert out == bits
    told = [line for line in error.splitlines() if "JAX was running" in line]
    assert len(told) == 1
    assert f'XLA_FLAGS="{backend.OPTIONS[0]}"' in told[0]


def test_what_goes_wrong_in_a_process_of_the_kernel_is_told_here():
    beside = child.Child({})
    with pytest.raises(Exception, match="not enough values to unpack"):
        beside.ask(())
    beside._process.kill()
    with pytest.raises(RunError, match="the process of the kernel ended with code -9"):
        beside.ask(())


def test_blocks_side_by_side_as_on_a_gpu_give_the_numbers_of_blocks_one_by_one(monkeypatch):
    """Three of four blocks at once, of different steps; last bits depend on how a device adds products."""
    eta = np.linspace(-6.0, 3.0, 900)
    scan = qs.Scan(
        points={"eta": eta, "tau": np.where(eta < -2.0, 1.0, 0.1)},
        fixed={"v_ou_sigma": 0.3},
        # Of few operations, and run once: all of it is compiled twice.
        protocol=qs.Protocol(transient=1.0, window=4.0, integrator="heun", tolerance=0.1),
        observables=["r_mean", "v_max"],
        precision="float64",
    )
    points = Points.of(scan, (np.arange(900),))
    found = []
    for at_once in (1, 3):
        monkeypatch.setattr(backend, "blocks_at_once", lambda at_once=at_once: at_once)
        monkeypatch.setattr(compiler, "_executables", {})
        found.append(run_points(points, Schedule.of(scan.protocol), batch_shape(900)).variables)
    one_by_one, side_by_side = found
    assert len(np.unique(one_by_one["dt"])) > 1
    for name, values in one_by_one.items():
        np.testing.assert_allclose(side_by_side[name], values, rtol=1e-9, err_msg=name)


OPERATIONS = re.compile(r"^%\S+ \(.*?^}$", re.M | re.S)


@pytest.mark.parametrize("keep", [pytest.param(False, marks=pytest.mark.thorough), True])
@pytest.mark.parametrize("fixed", [{}, {"v_ou_sigma": 0.5, "r_ou_sigma": 0.01}])
@pytest.mark.parametrize(
    "observables",
    [
        pytest.param(["r_mean"], marks=pytest.mark.thorough),
        ["r_mean", "r_std", "r_max", "v_min", "up_fraction"],
    ],
)
def test_what_comes_of_a_block_is_written_in_place(monkeypatch, observables, fixed, keep):
    """An operation of XLA with several results copies the arrays of all blocks for every block."""
    eta = np.linspace(-6.0, 3.0, 3 * BLOCK)
    scan = qs.Scan(
        points={"eta": eta}, fixed=fixed, protocol=qs.Protocol(window=1.0), observables=observables
    )
    points = Points.of(scan, (np.arange(len(eta)),))
    schedule = replace(Schedule.of(scan.protocol), keep=keep)
    monkeypatch.setattr(compiler, "_executables", {})
    points.run(points.steps(), schedule, batch_shape(len(eta)))
    (program,) = compiler._executables.values()
    operations = [found[0] for found in OPERATIONS.finditer(program.as_text())]
    writing = [text for text in operations if re.search(r"\[3,.* dynamic-update-slice\(", text)]
    assert len(writing) > 1
    assert not [text for text in writing if re.search(r"ROOT \S+ = \(", text)]


def test_only_one_module_knows_of_xla():
    package = Path(backend.__file__).parents[1]
    knowing = [path.stem for path in package.rglob("*.py") if "XLA_FLAGS" in path.read_text()]
    assert knowing == ["backend"]
