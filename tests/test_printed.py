"""Definitions, plans, verdicts and rows print for a person, in notebooks too; scans are written as files."""

import inspect
import tomllib
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import qifscan as qs
from qifscan.cli import main
from qifscan.dynamics.integrators import INTEGRATORS
from qifscan.dynamics.observables import observables
from qifscan.printed import span

SCANS = Path(__file__).parents[1] / "scans"

FAST = {"transient": 1.0, "window": 1.0}

ZOO = {
    "one point": qs.Scan(),
    "all of it": qs.Scan(
        title='With "quotes", a \\ and a \x7f',
        model="qif_adaptation_alpha",
        axes={
            "eta": np.linspace(-10, 5, 31),
            "delta": np.geomspace(0.01, 10, 7),
            "path": {"J": [1.0, 2.5, 1 / 3], "alpha": [0.0, 1e-300, 1e300]},
        },
        fixed={"tau": 20.0, "v_ou_sigma": 0.1},
        drive=qs.Sampled(values=np.sin(np.arange(1000.0)), interval=0.1, amplitude=2.0),
        replicates=3,
        seed=2**62,
        noise="common",
        protocol=qs.Protocol(
            transient=12.5, window=80.0, dt=0.01, initial={"r": 0.1, "v": -2, "a": 0, "b": 1}
        ),
        observables=["a_mean", "r_frequency"],
        traces=qs.Traces(points=({"eta": -10.0, "path": 1}, {"replicate": 2}), every=4),
        precision="float64",
    ),
    "a sweep": qs.Scan(axes={"J": [5.0, 15.0], "eta": [-5.0, -4.0]}, protocol=qs.Protocol(sweep="eta")),
    "a sweep down": qs.Scan(
        axes={"direction": ["down"], "eta": [-5.0, -4.0]}, protocol=qs.Protocol(sweep="eta")
    ),
    "states": qs.Scan(axes={"initial": ["down", "up"], "eta": [-5.0]}, drive=qs.Pulse(amplitude=3, length=5)),
    "points": qs.Scan(points=[{"eta": -5.0, "J": 15.0}, {"eta": -4.0, "J": 12.0}], axes={"tau": [1.0, 2.0]}),
    "a pair": qs.Scan(model="qif_pair", axes={"eta_i": {"linspace": [-8, 0, 9]}}),
}


@pytest.mark.parametrize("name", ZOO)
def test_a_scan_is_read_back_from_its_toml(name, tmp_path):
    path = tmp_path / "scan.toml"
    path.write_text(ZOO[name].to_toml(), encoding="utf-8")
    again = qs.Scan.from_toml(path)
    assert again == ZOO[name]
    assert again.fingerprint == ZOO[name].fingerprint
    assert again.title == ZOO[name].title


@pytest.mark.parametrize("file", sorted(SCANS.glob("*.toml")), ids=lambda p: p.stem)
def test_a_shipped_scan_is_written_as_it_stands_in_its_file(file):
    written, there = tomllib.loads(qs.Scan.from_toml(file).to_toml()), tomllib.loads(file.read_text())
    # The file may say what is the default, too.
    assert written.pop("protocol").items() <= there["protocol"].items()
    assert [name for name in written if written[name] != there[name]] == []


def test_what_is_completed_at_a_prompt_are_the_names_of_a_scan_alone():
    scan = qs.Scan(axes={"eta": [-5.0, -4.0]})
    shown = {name for name in dir(scan) if not name.startswith("_")}
    assert {"axes", "protocol", "replace", "to_toml", "sizes", "fingerprint", "select"} <= shown
    assert not {name for name in shown if name.startswith("model_")}
    assert not shown & {"json", "dict", "copy", "schema", "validate", "construct"}
    assert {name for name in dir(scan.protocol) if not name.startswith("_")} >= {"window", "replace"}


@pytest.mark.parametrize("name", ZOO)
def test_replacing_nothing_gives_the_same_scan(name):
    assert ZOO[name].replace() == ZOO[name]
    assert ZOO[name].replace(seed=1).replace(seed=ZOO[name].seed) == ZOO[name]


def test_replaced_fields_are_those_of_a_scan_made_with_them():
    scan = qs.Scan(axes={"eta": [-5.0, -4.0]}, protocol=qs.Protocol(**FAST, sweep="eta"))
    more = scan.replace(
        axes=scan.axes | {"J": [10.0]}, protocol=scan.protocol.replace(window=2.0), model="qif_gap"
    )
    assert more == qs.Scan(
        model="qif_gap",
        axes={"eta": [-5.0, -4.0], "direction": ["up", "down"], "J": [10.0]},
        protocol=qs.Protocol(transient=1.0, window=2.0, sweep="eta"),
    )
    assert scan.replace(protocol=qs.Protocol(**FAST)).sizes == {"eta": 2}
    assert qs.Scan(model="qif_pair").replace(model="qif") == qs.Scan()


def test_a_wrong_replacement_is_one_line_for_each_mistake():
    with pytest.raises(qs.ScanError) as caught:
        qs.Scan().replace(sed=1, replicates=0)
    assert [fault.where for fault in caught.value.faults] == ["replicates", "sed"]
    with pytest.raises(qs.ScanError, match="window"):
        qs.Protocol().replace(window=-1.0)


def test_the_scan_of_a_store_is_that_which_was_run(tmp_path, monkeypatch):
    scan = qs.Scan(title="T", axes={"eta": [-5.0]}, protocol=qs.Protocol(**FAST))
    qs.run(scan, tmp_path / "s.zarr")
    assert qs.Scan.from_store(tmp_path / "s.zarr") == scan
    (tmp_path / "s.zarr" / "zarr.json").write_text("{}")
    assert qs.Scan.from_store(tmp_path / "s.zarr").title == "T"  # from the second copy
    for place, told in ((tmp_path / "none.zarr", "not found"), (tmp_path, "no zarr.json")):
        with pytest.raises(qs.StoreError, match=told):
            qs.Scan.from_store(place)


@pytest.mark.parametrize("name", ZOO)
def test_a_scan_prints_its_axes_as_counts_and_ranges(name):
    scan = ZOO[name]
    told = repr(scan)
    assert told == str(scan)
    assert max(map(len, told.splitlines())) < 200
    assert scan.fingerprint[:12] in told
    assert all(axis in told for axis in scan.axes)
    assert scan._repr_html_().count("<tr>") == len(told.splitlines())


def test_what_a_person_reads_of_a_scan():
    scan = qs.Scan(
        title="Noise", axes={"eta": np.linspace(-7, -2, 21), "v_ou_sigma": [0.0, 0.5]}, replicates=16
    )
    assert str(scan).splitlines()[1:] == [
        "model         qif",
        "points        672 (eta 21 x v_ou_sigma 2 x replicate 16)",
        "axis          eta: 21 values, -7 to -2, 0.25 apart",
        "axis          v_ou_sigma: 0, 0.5",
        "protocol      100 ms, then 100 ms measured; dt auto, riccati",
        "start         rest",
        "replicates    16, noise independent on v, seed 0",
        "observables   r_mean, r_std, r_min, r_max",
        "precision     float32",
    ]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([1.0], "1"),
        ([3.0, 1.0, 2.0], "3, 1, 2"),
        (np.linspace(5, -5, 11), "11 values, 5 to -5, 1 apart"),
        (np.geomspace(1e-3, 1e3, 7), "7 values, 0.001 to 1000, evenly spaced in the logarithm"),
        ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 7.0], "7 values, 0 to 7"),
        ([1.0, 9.0, 2.0, 3.0, 4.0, 5.0, 6.0], "7 values between 1 and 9"),
        ([2.0] * 7, "7 values, all 2"),
        (["up", "down"] * 4, "8 names, up to down"),
    ],
)
def test_an_axis_prints_as_its_values_or_as_its_count_and_range(values, told):
    assert span(list(np.array(values).tolist())) == told


def test_a_name_of_the_user_is_escaped():
    scan = qs.Scan(title="<b>\x1b[1m")
    assert "<b>" not in scan._repr_html_()
    assert "\x1b" not in scan._repr_html_() + str(scan)


def test_parts_of_a_scan_print_as_they_are_made():
    assert repr(qs.Protocol(window=5.0, sweep="eta")) == "Protocol(window=5.0, sweep='eta')"
    assert repr(qs.Pulse(amplitude=3, length=5)) == "Pulse(amplitude=3.0, length=5.0)"
    told = repr(qs.Sampled(values=np.arange(1000.0), interval=1.0))
    assert told == "Sampled(values=[1,000 values, 0 to 999, 1 apart], interval=1.0)"


def test_a_plan_and_a_verdict_look_as_printed(tmp_path):
    scan = qs.Scan(axes={"eta": [-5.0]}, protocol=qs.Protocol(**FAST))
    plan = qs.plan(scan, probe=False)
    qs.run(scan, tmp_path / "s.zarr")
    verdict = qs.verify(tmp_path / "s.zarr")
    for thing in (plan, verdict):
        assert repr(thing) == str(thing)
        assert thing._repr_html_().count("<tr>") == len(str(thing).splitlines())
    assert str(verdict).splitlines()[-1] == "verdict       sound"


def test_signatures_are_names_and_defaults():
    assert str(inspect.signature(qs.Pulse)) == "(*, amplitude, start=0.0, length)"
    assert str(inspect.signature(qs.Scan)).startswith("(*, title='', model='qif', drive=None, protocol=Proto")
    assert len(str(inspect.signature(qs.Scan))) < 300


def test_the_models_are_listed_with_what_they_are_made_of():
    rows = qs.models()
    assert list(rows) == [line.split()[0] for line in str(rows).splitlines()][: len(rows)]
    told = str(rows["qif_adaptation_alpha"])
    for part in ("tau v' = v^2 + eta", "b' = alpha r", "tau_a = 10 (ms)", "a (1): adaptation", "Gast"):
        assert part in told
    rows.clear()  # a copy
    assert qs.models()


def test_rows_print_without_their_functions():
    rows = [*observables(qs.models()["qif_pair"]).values(), *INTEGRATORS.values(), *qs.models().values()]
    assert [row.name for row in rows if "<function" in repr(row) or row.name not in repr(row)] == []
    assert repr(observables(qs.models()["qif"])["r_final"]).startswith(
        "r_final (1/ms): population firing rate"
    )


def test_the_module_of_the_models_is_still_a_module():
    import qifscan.dynamics.models
    from qifscan.dynamics.models import QIF

    assert qifscan.models is qs.models
    assert qs.models()["qif"] is QIF


def test_the_command_lists_models_and_describes_one():
    listed = CliRunner().invoke(main, ["models"])
    assert listed.exit_code == 0
    assert listed.output.strip() == str(qs.models())
    one = CliRunner().invoke(main, ["models", "qif_pair"]).output
    assert "J_ei = -10 (1)" in one
    wrong = CliRunner().invoke(main, ["models", "qif_par"])
    assert wrong.exit_code == 2
    assert 'did you mean "qif_pair"?' in wrong.output
