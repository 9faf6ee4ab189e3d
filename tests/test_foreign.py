"""Diagrams of AUTO-07p and PyCoBi lie on ours; what is wrong with a file is one line with its number.

The files in `diagrams` are parts of what AUTO-07p 0.9.2 and PyCoBi 1.1.0 wrote about the adaptation model of
Gast et al. (delta = 2, J = 15 sqrt 2, tau_a = 10, alpha = 1): equilibria, cycles from the upper Hopf point,
folds.
"""

from __future__ import annotations

import math
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import qifscan as qs
from qifscan.errors import ScanError

DATA = Path(__file__).parent / "diagrams"
GAST = {"J": 15.0 * math.sqrt(2.0), "delta": 2.0, "tau_a": 10.0}
MODEL = "qif_adaptation_alpha"
LP, HB, CP = 2, 3, -22


def auto(name, **options):
    return qs.read_auto(DATA / f"b.{name}", DATA / f"d.{name}", **options)


def of_type(dataset, kind):
    return dataset.isel(point=np.flatnonzero(dataset["type"].values == kind)).sortby("r")


def changed(path, folder, *changes):
    """Return a copy of a file in which texts are replaced, each of which is there."""
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    copy = folder / path.name
    copy.write_text(text)
    return copy


# What AUTO finds is what we find


def test_the_equilibria_of_auto_lie_on_ours_with_their_eigenvalues_and_stability():
    theirs = auto("equilibria", model=MODEL)
    found = qs.equilibria(MODEL, alpha=1.0, eta=xr.DataArray(theirs["eta"].values, dims="point"), **GAST)
    for k, r in enumerate(theirs["r"].values):
        # Next to a fold the rate has but half of the digits that eta was printed with.
        i = int(np.nanargmin(np.abs(found["r"].values[k] - r)))
        assert r == pytest.approx(found["r"].values[k, i], rel=3e-5)
        for part in ("real", "imag"):
            ours = found[f"eigenvalue_{part}"].values[k, i]
            assert np.sort(theirs[f"eigenvalue_{part}"].values[k]) == pytest.approx(np.sort(ours), abs=2e-3)
        if theirs["type"].values[k] not in (LP, HB):
            assert theirs["stable"].values[k] == found["stable"].values[k, i]
            assert theirs["kind"].values[k] == found["kind"].values[k, i]


def test_the_hopf_points_and_folds_of_auto_are_the_known_ones():
    theirs = auto("equilibria")
    np.testing.assert_allclose(of_type(theirs, HB)["eta"], [-4.039818600838, -0.534080541355], atol=1e-7)
    np.testing.assert_allclose(of_type(theirs, LP)["eta"], [-3.537497314192, -3.548702284447], atol=1e-9)
    ours = qs.special_points(MODEL, alpha=1.0, **GAST)
    for kind in (HB, LP):
        np.testing.assert_allclose(of_type(theirs, kind)["eta"], of_type(ours, kind)["eta"], atol=1e-7)


PUBLISHED = """\
   0   0.0000E+00  0.0000E+00  0.0000E+00  0.0000E+00
   0   NDIM=   4   IPS =   1   IRS =   0   ILP =   1
   0
   0    PT  TY  LAB     PAR(1)            L2-NORM            U(1)               PERIOD
   1   -10   3    2 -4.0398183778E+00  2.6603674519E+00  2.2364861134E-01  3.6495199871E+01
   1    11   4    3 -3.9000000000E+00  2.7397364000D+00  2.3782180000E-01  3.2213000000+001
   1    12   2    4 -3.5374971941E+00  3.8912046662E+00  3.7801480314E-01  *******************
   1    13   2    5 -3.5487021359E+00  4.7499424855E+00  4.6776144797E-01  NaN
   1   -14   3    6 -5.3408102791E-01  1.1003673882E+01  1.0945240044E+00  1.4647771066E+01
"""


def test_published_values_of_auto_through_pyrates_agree_with_ours_to_single_precision(tmp_path):
    """Published with pi in single precision: they agree to 1e-6 (periods relative)."""
    (tmp_path / "b.published").write_text(PUBLISHED)
    names = {"PAR(1)": "eta", "U(1)": "r"}
    theirs = qs.read_auto(tmp_path / "b.published", names=names)
    ours = qs.special_points(MODEL, alpha=1.0, **GAST)
    for kind in (HB, LP):
        np.testing.assert_allclose(of_type(theirs, kind)["eta"], of_type(ours, kind)["eta"], rtol=1e-6)
    np.testing.assert_allclose(of_type(theirs, HB)["period"], of_type(ours, HB)["period"], rtol=1e-6)
    assert np.isnan(of_type(theirs, LP)["period"]).all()
    assert theirs["type"].values.tolist() == [HB, 0, LP, LP, HB]
    assert theirs["label"].values.tolist() == [2, 3, 4, 5, 6]


def test_the_folds_and_the_cusp_that_auto_followed_are_ours():
    theirs = auto("folds")
    assert theirs["row_size"].values.tolist() == [5, 5]
    assert "stable" not in theirs
    cusp = theirs.isel(point=theirs["type"].values == CP)
    assert (cusp["alpha"].item(), cusp["eta"].item()) == pytest.approx(
        (1.018768756714, -3.464101615138), abs=3e-9
    )
    away = theirs.isel(point=theirs["type"].values != CP)
    alpha = xr.DataArray(away["alpha"].values, dims="slices")
    ours = qs.special_points(MODEL, alpha=alpha, **GAST)
    ours = ours.isel(point=ours["type"].values == LP)
    for k, eta in enumerate(away["eta"].values):
        here = ours["eta"].values[ours["slice"].values == k]
        assert np.abs(here - eta).min() < 1e-7


def test_the_cycles_of_auto_begin_with_the_known_period_and_one_multiplier_outside():
    theirs = auto("cycles", model=MODEL)
    assert theirs["period"].values[0] == pytest.approx(14.6477779971, abs=2e-9)
    assert np.isnan(theirs["multiplier_real"].values[0]).all()
    mu = theirs["multiplier_real"].values[1:] + 1j * theirs["multiplier_imag"].values[1:]
    assert (np.diff(np.abs(mu), axis=1) <= 0.0).all()
    np.testing.assert_allclose(np.abs(mu - 1.0).min(axis=1), 0.0, atol=1e-5)
    assert theirs["unstable_multipliers"].values.tolist() == [-1, 1, 1, 1, 1]
    assert not theirs["stable"].any()
    assert theirs["resolved"].values.tolist() == [False, True, True, True, True]


def test_a_cycle_of_auto_is_among_ours():
    """The branch of the upper Hopf point up to eta = -0.3437, where AUTO's cycle has T = 18.911186."""
    theirs = auto("cycles", model=MODEL).isel(point=2)
    eta = theirs["eta"].item()
    ours = qs.cycle_branches(MODEL, alpha=1.0, within=(-0.6, eta), points=60, **GAST)
    last = ours.isel(point=np.flatnonzero(ours["type"].values == 9)[-1])
    assert last["eta"].item() == pytest.approx(eta, abs=1e-9)
    for name in ("period", "r_max", "v_max", "a_max"):
        # AUTO takes a maximum over its mesh points alone.
        assert last[name].item() == pytest.approx(theirs[name].item(), rel=1e-7 if name == "period" else 1e-4)


def test_the_hopf_points_that_auto_followed_are_ours_with_their_frequencies():
    theirs = auto("hopf")
    alpha = xr.DataArray(theirs["alpha"].values, dims="slices")
    ours = qs.special_points(MODEL, alpha=alpha, **GAST)
    ours = ours.isel(point=ours["type"].values == HB)
    for k, eta in enumerate(theirs["eta"].values):
        here = np.flatnonzero(ours["slice"].values == k)
        i = here[np.argmin(np.abs(ours["eta"].values[here] - eta))]
        assert ours["eta"].values[i] == pytest.approx(eta, abs=1e-7)
        assert ours["period"].values[i] == pytest.approx(theirs["period"].values[k], rel=1e-7)
    # Without the column of the period it is that of the pair on the axis, with six digits.
    of_pair = auto("hopf", names={"PERIOD": "T"})
    np.testing.assert_allclose(of_pair["omega"], theirs["omega"], rtol=1e-5)


# The form is that of ours


def drawn(figure, label):
    """Return the line of a figure with this label."""
    return next(line for line in figure.axes[0].get_lines() if line.get_label() == label)


def test_one_figure_draws_ours_and_theirs():
    ours = qs.branch(MODEL, alpha=1.0, within=(-12.0, 3.0), **GAST)
    theirs, cycles = (auto(name, model=MODEL) for name in ("equilibria", "cycles"))
    alone = qs.show(theirs)
    hopf = drawn(alone, "Hopf (HB)").get_xdata()
    np.testing.assert_allclose(np.sort(hopf), [-4.039818600838, -0.534080541355], atol=1e-7)
    both = qs.show(ours, over=[theirs, cycles])
    heights = drawn(both, "cycle, unstable").get_ydata()
    np.testing.assert_allclose(heights[np.isfinite(heights)], cycles["r_max"], rtol=1e-12)


def test_curves_of_another_program_are_drawn_as_what_they_are_of():
    for name, label in (("folds", "folds (exact)"), ("hopf", "Hopf points (exact)")):
        names = {"PERIOD": "T"} if name == "hopf" else {}
        theirs = qs.read_auto(DATA / f"b.{name}", model=MODEL, names=names)
        line = drawn(qs.show(theirs), label)
        assert np.isin(theirs["eta"].values, line.get_xdata()).all()


def test_what_means_the_same_has_the_same_name_and_dimensions_as_ours():
    ours = qs.branch(MODEL, alpha=1.0, **GAST)
    theirs = auto("equilibria", model=MODEL)
    same = set(theirs.data_vars) - {"label", "l2_norm", "branch_number"}
    assert same <= set(ours.data_vars)
    assert all(theirs[name].dims == ours[name].dims for name in same)
    assert all(
        theirs[n].attrs["units"] == ours[n].attrs["units"] for n in (*"rvab", "eta", "eigenvalue_real")
    )
    codes = dict(zip(ours["type"].flag_meanings.split(), ours["type"].flag_values, strict=True))
    assert (
        codes.items()
        <= dict(zip(theirs["type"].flag_meanings.split(), theirs["type"].flag_values, strict=True)).items()
    )
    assert theirs["kind"].attrs["flag_meanings"] == ours["kind"].attrs["flag_meanings"]


def test_the_cycles_of_another_program_have_the_form_of_our_branches_of_cycles():
    theirs = auto("cycles", model=MODEL)
    ours = qs.cycle_branches(MODEL, alpha=1.0, within=(-0.6, -0.5), points=4, **GAST)
    same = set(theirs.data_vars) - {"label", "l2_norm", "branch_number"}
    assert same <= set(ours.data_vars)
    assert all(theirs[name].dims == ours[name].dims for name in same)


def test_a_branch_of_another_program_is_selected_with_its_points():
    theirs = auto("cycles", model=MODEL)
    xr.testing.assert_equal(theirs.qs.select(branches=0), theirs.isel(branches=0))


def test_runs_that_were_appended_to_one_file_are_told_apart_by_kind(tmp_path):
    text = "".join((DATA / f"b.{name}").read_text() for name in ("equilibria", "cycles", "folds"))
    (tmp_path / "b.all").write_text(text)
    with pytest.raises(ScanError, match="kind: found equilibria and LP and cycles"):
        qs.read_auto(tmp_path / "b.all")
    for name, kind, left in (
        ("equilibria", "equilibria", 3),
        ("cycles", "cycles", 3),
        ("folds", "LP", 2),
    ):
        found = qs.read_auto(tmp_path / "b.all", kind=kind)
        alone = qs.read_auto(DATA / f"b.{name}")
        assert found.attrs["left_out"] == left
        xr.testing.assert_equal(found, alone)


def test_the_numbers_of_points_begin_anew_after_9999_within_one_branch(tmp_path):
    rows = [
        f"   1 {-n:5d}   0    0 {0.001 * k:18.10E}  1.0E+00  0.1E+00  0.0E+00"
        for k, n in enumerate((9998, 9999, 1, 2))
    ]
    (tmp_path / "b.long").write_text("\n".join([*PUBLISHED.splitlines()[:4], *rows]))
    found = qs.read_auto(tmp_path / "b.long")
    assert found["row_size"].values.tolist() == [4]
    assert found["stable"].all()


def test_a_second_branch_of_one_run_has_no_header_of_its_own_but_the_names(tmp_path):
    lines = PUBLISHED.splitlines()
    again = [line.replace("   1   -10", "   2    -1") for line in lines[2:5]]
    (tmp_path / "b.two").write_text("\n".join([*lines, *again]))
    found = qs.read_auto(tmp_path / "b.two")
    assert found["row_size"].values.tolist() == [5, 1]
    assert found["branch_number"].values.tolist() == [1, 2]


# What is wrong with a file


WRONG = [
    (
        ("-3.5374973142E+000", "-3.5374973142F+000"),
        'line 24: found "-3.5374973142F+000" as eta, expected a number',
    ),
    (("   1   302   2    9", "   1   302   x    9"), 'line 24: found "x" as TY, expected an integer'),
    (
        ("  3.7801480299E-001", ""),
        "line 24: found 9 numbers, expected BR, PT, TY, LAB and 6 columns: eta, L2-NORM",
    ),
    (
        ("   1   302   2    9", "   1   302   5    9"),
        "line 24: found 5, expected a code that AUTO has for equilibria",
    ),
    (("IPS =   1", "IPS =   4"), "found IPS = 4, ISW = 1, expected IPS = 0, 1"),
    (("IPS =   1", "        "), "expected a header of AUTO before it"),
]


@pytest.mark.parametrize(("change", "words"), WRONG)
def test_a_line_that_is_wrong_is_named_with_what_was_found_and_expected(tmp_path, change, words):
    with pytest.raises(ScanError) as caught:
        qs.read_auto(changed(DATA / "b.equilibria", tmp_path, change))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_ends_within_a_row_says_so(tmp_path):
    cut = tmp_path / "b.cut"
    cut.write_text((DATA / "b.equilibria").read_text()[:-40])
    with pytest.raises(ScanError, match=r"line 33: found 8 numbers.*the file ends within a row; delete it"):
        qs.read_auto(cut)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "found no point, expected a header of AUTO"),
        (PUBLISHED.split("   1   -10")[0], "found no point"),
        ("1 2 3\n", "line 1: found .*expected a header of AUTO"),
    ],
)
def test_what_is_no_branch_of_auto_is_refused(tmp_path, text, words):
    (tmp_path / "b.x").write_text(text)
    with pytest.raises(ScanError, match=words):
        qs.read_auto(tmp_path / "b.x")


def test_a_missing_or_binary_file_is_refused(tmp_path):
    with pytest.raises(ScanError, match=r"b\.none: found no such file"):
        qs.read_auto(tmp_path / "b.none")
    (tmp_path / "b.bytes").write_bytes(bytes(range(256)))
    with pytest.raises(ScanError, match="found binary data, expected text"):
        qs.read_auto(tmp_path / "b.bytes")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "cycles"}, "kind: found no cycles in .*expected one of equilibria"),
        ({"kind": "circles"}, 'kind: found "circles".*did you mean "cycles"'),
        ({"model": "qif_adaptation"}, "model: found"),
        ({"names": {"etta": "x"}}, 'found unknown column "etta".*did you mean "eta"'),
    ],
)
def test_a_wrong_request_is_one_line(options, words):
    with pytest.raises(ScanError, match=words):
        qs.read_auto(DATA / "b.equilibria", **options)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            ("Eigenvalue  2:  -9.99634E-02   1.65233E-02", "Eigenvalue  2:  -9.99634E-02"),
            "line 5: found .*two numbers",
        ),
        (
            ("   1     1         Eigenvalue  2:  -9.99634E-02   1.65233E-02\n", ""),
            "line 5: found number 3, expected number 2",
        ),
        (
            ("   1  -265        0", "   7  -265        0"),
            "found point 265 of branch 7, expected the points of",
        ),
    ],
)
def test_diagnostics_that_are_wrong_or_of_another_run_are_refused(tmp_path, change, words):
    wrong = changed(DATA / "d.equilibria", tmp_path, change)
    with pytest.raises(ScanError, match=words):
        qs.read_auto(DATA / "b.equilibria", wrong)


def test_a_branch_file_in_place_of_diagnostics_is_refused():
    with pytest.raises(ScanError, match=r"b\.equilibria: found no row below a heading.*IID > 0"):
        qs.read_auto(DATA / "b.equilibria", DATA / "b.equilibria")


def test_multipliers_that_auto_calls_inaccurate_are_not_resolved(tmp_path):
    head = "  14     2         Multipliers:     Stable:   3"
    noted = changed(DATA / "d.cycles", tmp_path, (head, f"  14     2 NOTE:Multiplier inaccurate\n{head}"))
    found = qs.read_auto(DATA / "b.cycles", noted)
    assert found["resolved"].values.tolist() == [False, False, True, True, True]


# PyCoBi


def table_of(name):
    """Return a table as PyCoBi has it in memory: pairs of names, complex numbers, truth values."""
    table = pd.read_csv(DATA / f"{name}.csv", header=[0, 1], index_col=0)
    pairs = [(a, "" if str(b).startswith("Unnamed") else int(b)) for a, b in table.columns]
    table.columns = pd.MultiIndex.from_tuples(pairs)
    for column in [c for c in table.columns if c[0] == "eigenvalues"]:
        table[column] = [complex(value) for value in table[column]]
    return table


@pytest.mark.parametrize("name", ["equilibria", "cycles"])
def test_a_table_of_pycobi_reads_the_same_from_memory_and_from_csv(tmp_path, name):
    table = table_of(name)
    table.to_csv(tmp_path / f"{name}.csv")
    in_memory = qs.read_pycobi(table, model=MODEL)
    for path in (DATA / f"{name}.csv", tmp_path / f"{name}.csv"):
        xr.testing.assert_equal(qs.read_pycobi(path, model=MODEL), in_memory)


def test_the_special_points_of_a_table_of_pycobi_are_ours():
    theirs = qs.read_pycobi(table_of("equilibria"), names={"PAR(11)": "period"})
    ours = qs.special_points(MODEL, alpha=1.0, **GAST)
    for kind in (HB, LP):
        np.testing.assert_allclose(of_type(theirs, kind)["eta"], of_type(ours, kind)["eta"], atol=1e-7)
    np.testing.assert_allclose(of_type(theirs, HB)["period"], [36.4952006630, 14.6477779971], rtol=1e-7)
    assert np.isnan(of_type(theirs, LP)["period"]).all()
    marginal = np.abs(of_type(theirs, HB)["eigenvalue_real"].values).min(axis=1)
    assert (marginal < 1e-7).all()


def test_the_cycles_of_a_table_of_pycobi_are_those_of_auto():
    theirs = qs.read_pycobi(DATA / "cycles.csv", model=MODEL)
    np.testing.assert_allclose(theirs["period"].values[0], auto("cycles")["period"].values[2], rtol=1e-9)
    np.testing.assert_allclose(theirs["r_max"].values[0], auto("cycles")["r_max"].values[2], rtol=1e-9)
    assert (theirs["r_min"] < theirs["r_max"]).all()
    assert theirs["type"].values.tolist() == [0, 0, 0, 9]
    assert "branches" in theirs.dims


class Bomb:
    """An object whose unpickling would leave a trace."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("name", ["table.pkl", "table.csv"])
def test_no_pickle_is_loaded_whatever_its_name(tmp_path, name):
    trace = tmp_path / "trace"
    (tmp_path / name).write_bytes(pickle.dumps(Bomb(trace)))
    with pytest.raises(ScanError, match=r"executes code that is in it.*save table\.to_csv") as caught:
        qs.read_pycobi(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("-4.0398", "-4,0398"), r"line 3: found 25 cells, expected 24"),
        ((",HB,", ",HX,"), r'line 3: found unknown bifurcation "HX"'),
        (("0.22364861", "zero"), r'line 3: found "zero.*" as r, expected a number'),
        (("j)", "i)"), r'line 3: found ".*" as eigenvalues, expected a complex number'),
        (("True", "Yes"), r'found "Yes" as stability, expected True or False'),
        ((",bifurcation,", ",type,"), 'expected a column "bifurcation"'),
        ((",0,0,0,0,0,1,2,3,", ",0.5,0,0,0,0,1,2,3,"), "no second row of names"),
    ],
)
def test_a_cell_that_is_wrong_is_named(tmp_path, change, words):
    lines = (DATA / "equilibria.csv").read_text().splitlines(keepends=True)
    (tmp_path / "all.csv").write_text(
        "".join([*lines[:2], *(line for line in lines if ",HB," in line), lines[-1]])
    )
    wrong = changed(tmp_path / "all.csv", tmp_path, change)
    with pytest.raises(ScanError, match=words):
        qs.read_pycobi(wrong)


def test_what_is_no_table_is_refused(tmp_path):
    with pytest.raises(ScanError, match=r"table: found \[1, 2\], expected a pandas DataFrame"):
        qs.read_pycobi([1, 2])
    with pytest.raises(ScanError, match=r"none\.csv: found no such file"):
        qs.read_pycobi(tmp_path / "none.csv")
    two = table_of("equilibria")
    two[("J", "")] += np.arange(len(two))
    with pytest.raises(ScanError, match=r'kind: found eta and J, which vary.*give kind="LP"'):
        qs.read_pycobi(two)
    assert qs.read_pycobi(two, kind="HB").attrs["curve"] == "HB"
    whole = table_of("cycles")
    whole[("r", 2)] = 0.0
    with pytest.raises(ScanError, match="table, r: found a time series"):
        qs.read_pycobi(whole)


def test_a_diagram_that_was_read_can_be_written_and_opened_again(tmp_path):
    found = auto("equilibria", model=MODEL)
    found.to_zarr(tmp_path / "diagram.zarr", consolidated=False)
    xr.testing.assert_equal(xr.open_zarr(tmp_path / "diagram.zarr", consolidated=False).load(), found)
