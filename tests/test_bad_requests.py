"""What new users get wrong in asking for theory or cycles: one line that says what, or a flag in the data."""

import math

import numpy as np
import pytest

import qifscan as qs

NAN = math.nan
SINE = {"drive": qs.Sine(amplitude=1.0, period=9.0)}

EVERYWHERE = (
    ({"model": "qiff"}, 'model: found "qiff", expected one of'),
    ({"model": None}, "model: found nothing, expected one of"),
    ({"model": ["qif"]}, 'model: found ["qif"], expected one of'),
    ({"model": "nowhere:model"}, "put its directory on PYTHONPATH"),
    ({"Delta": 1.0}, "Delta: found an unknown parameter, expected one of"),
    ({"delta": NAN}, "delta: found nan, expected finite numbers"),
    ({"delta": "a"}, 'delta: found "a", expected real numbers'),
    ({"delta": [1.0, "a"]}, 'delta: found [1.0, "a"], expected real numbers'),
    ({"delta": True}, "delta: found true, expected real numbers"),
    ({"delta": None}, "delta: found nothing, expected real numbers"),
    ({"delta": 0.0}, "delta: found 0, expected a number above 0"),
    ({"delta": [1.0, -1.0]}, "delta: found -1, expected a number above 0"),
    ({"delta": [[1.0, 2.0]]}, "give an xarray.DataArray with named dimensions"),
    ({"delta": np.ma.masked_array([1.0, 2.0], [False, True])}, "delta: found a masked array"),
)

RANGES = (
    ({"delta": []}, "delta: found no values, expected at least one"),
    ({"rates": (2.0, 1.0)}, "rates: found [2.0, 1.0], expected two ascending numbers above 0"),
    ({"rates": (0.0, 1.0)}, "expected two ascending numbers above 0"),
    ({"rates": (NAN, 1.0)}, "rates: found [NaN, 1.0]"),
    ({"rates": (1.0, math.inf)}, "rates: found [1.0, Infinity]"),
    ({"rates": 3.0}, "rates: found 3.0"),
    ({"rates": "ab"}, 'rates: found "ab"'),
    ({"rates": [[1.0, 2.0]]}, "rates: found [[1.0, 2.0]]"),
    ({"rates": (1e-300, 1e300)}, "by a factor of 1e+30 apart at most"),
    ({"within": (True, False)}, "within: found [true, false]"),
    ({"within": [(1.0, 2.0)]}, "within: found [[1.0, 2.0]]"),
    ({"within": (NAN, 1.0)}, "within: found [NaN, 1.0], expected two ascending numbers"),
)

POINTS = tuple(
    ({"points": wrong}, f"points: found {shown}, expected")
    for wrong, shown in (
        (0, "0"),
        (1, "1"),
        (2.5, "2.5"),
        (True, "true"),
        ("a", '"a"'),
        (10**9, "1000000000"),
    )
)

ALONG = (
    ({"along": "x"}, 'along: found "x", expected one of tau, eta, delta, J'),
    ({"along": 3}, "along: found 3, expected one of tau, eta, delta, J"),
    ({"along": None}, "along: found nothing, expected one of"),
    ({"along": {"eta"}}, "expected one of tau, eta, delta, J"),
    ({"along": "tau"}, "equilibria can't be solved for tau"),
    ({"eta": 1.0}, "eta: found a value, expected none"),
)

STARTS = (
    ({"delta": []}, "delta: found no values, expected at least one"),
    ({"starts": 0}, "starts: found 0, expected an integer of at least 1"),
    ({"starts": 1.5}, "starts: found 1.5"),
    ({"starts": "a"}, 'starts: found "a"'),
)

TIMES = tuple(
    ({"transient": wrong}, f"transient: found {shown}, expected a number of ms above 0")
    for wrong, shown in ((-1.0, "-1.0"), (NAN, "nan"), ("a", '"a"'), (0.0, "0.0"))
)

REQUESTS = {
    "equilibria": (
        *EVERYWHERE,
        ({"model": "qif_gap", "J": []}, "J: found no values, expected at least one"),
    ),
    "special_points": (
        *EVERYWHERE,
        *RANGES,
        *ALONG,
        ({"along": []}, "along: found 0 parameters, expected one, or two different ones"),
        ({"along": ("eta", "eta")}, "expected one, or two different ones"),
        ({"along": ("J", "delta")}, "expected eta and another parameter"),
        ({"along": ("eta", ["J"])}, 'along: found ["J"], expected one of'),
    ),
    "branch": (
        *EVERYWHERE,
        *RANGES,
        *POINTS,
        *ALONG,
        ({"along": ("eta", "J")}, "through two parameters there are curves: qs.curve"),
        ({"J": [1.0, 2.0]}, "J: found several values, expected a number; ask slice by slice"),
        (
            {"within": (100.0, 101.0), "rates": (1.0, 2.0)},
            "eta: found no equilibrium with a rate in [1, 2] and",
        ),
    ),
    "curve": (
        *EVERYWHERE,
        *RANGES,
        *POINTS,
        ({"kind": "lp"}, 'kind: found "lp", expected one of LP, HB'),
        ({"kind": ["LP"]}, "expected one of LP, HB"),
        ({"along": "x"}, 'along: found "x", expected one of'),
        ({"through": ["J"]}, 'found ["J"], expected one of'),
        ({"through": None}, "found nothing, expected one of"),
        ({"kind": "HB", "through": None}, "through: found nothing, expected one of"),
        ({"kind": "HB"}, "eta, J: found no HB with"),
        ({"kind": "TR"}, 'that kind is "NS" here'),
        ({"through": "x"}, 'through: found "x", expected one of tau, eta, delta, J'),
        ({"through": "eta"}, 'through: found "eta", expected another parameter than eta'),
        ({"kind": "HB", "through": "eta"}, 'through: found "eta", expected another parameter than eta'),
        ({"kind": "LPC", "through": "eta"}, 'through: found "eta", expected another parameter than eta'),
        ({"kind": "PD", "doublings": "a"}, 'doublings: found "a", expected an integer of at least 0'),
        (
            {"kind": "HB", "model": "qif_gap", "through": "g", "within": (-5.0, 5.0)},
            "expected a range of g, a",
        ),
        ({"rates": (1e-3, 2e-3), "within": (0.0, 1.0)}, "found no LP with a rate in [0.001, 0.002]"),
    ),
    "cycles": (
        *EVERYWHERE,
        *STARTS,
        *TIMES,
        ({"window": NAN}, "window: found nan, expected a number of ms above 0"),
        ({"window": 0.0}, "window: found 0.0, expected a number of ms above 0"),
    ),
    "cycle_branches": (
        *EVERYWHERE,
        *STARTS,
        ({"along": "x"}, 'along: found "x", expected one of'),
        ({"along": ["eta"]}, 'along: found ["eta"], expected one of'),
        ({"along": "tau"}, "give `at`, to begin with cycles found by simulation"),
        ({"eta": 1.0}, "eta: found a value, expected none"),
        ({"at": NAN}, "at: found nan, expected a finite number"),
        ({"at": True}, "at: found true, expected a finite number"),
        ({"at": [1.0]}, "at: found [1.0], expected a finite number"),
        ({"at": 5.0, "within": (0.0, 1.0)}, "at: found 5.0, expected a number in [0, 1]; widen `within`"),
        ({"within": (2.0, 1.0)}, "within: found [2.0, 1.0], expected two ascending numbers"),
        ({"within": (NAN, 1.0)}, "within: found [NaN, 1.0]"),
        ({"within": "ab"}, 'within: found "ab"'),
        ({"points": 0}, "points: found 0, expected an integer of at least 1"),
        ({"longest": NAN}, "longest: found nan, expected a number of ms above 0"),
        ({"longest": True}, "longest: found true, expected a number of ms above 0"),
        ({"doublings": 0.5}, "doublings: found 0.5, expected an integer of at least 0"),
        ({"doublings": -1}, "doublings: found -1, expected an integer of at least 0"),
        ({"switches": "a"}, 'switches: found "a", expected an integer of at least 0'),
    ),
    "forced_cycles": (
        *((SINE | wrong, line) for wrong, line in (*EVERYWHERE, *STARTS, *TIMES)),
        ({}, "drive: found nothing, expected a Sine"),
        ({"drive": "sine"}, 'drive: found "sine", expected a Sine'),
        ({"drive": qs.Constant(amplitude=1.0)}, "expected a Sine; e.g. drive=qs.Sine("),
        (SINE | {"most_periods": 0}, "most_periods: found 0, expected an integer of at least 1"),
        (SINE | {"drive_period": -1.0}, "drive_period: found -1, expected a number above 0"),
    ),
}


def test_a_model_that_is_not_there_is_a_key_error_that_says_what_is():
    with pytest.raises(KeyError) as error:
        qs.models()["qif_pairs"]
    assert isinstance(error.value, qs.ScanError)
    assert str(error.value).startswith('model: found "qif_pairs", expected one of qif_pair, ')
    assert qs.models().get("qif_pairs") is None
    assert "qif_pairs" not in qs.models()


@pytest.mark.parametrize(
    ("call", "wrong", "line"),
    [(call, wrong, line) for call, several in REQUESTS.items() for wrong, line in several],
    ids=str,
)
def test_a_wrong_request_is_one_line_that_says_what(call, wrong, line):
    with pytest.raises(qs.ScanError) as error:
        getattr(qs, call)(**wrong)
    told = str(error.value)
    assert line in told
    assert "\n" not in told
    assert len(told) < 260


def test_a_slice_without_what_was_asked_for_says_so_in_the_data():
    points = qs.special_points("qif_pair", along="eta_i", eta_e=[5.0], rates=(1e5, 1e6))
    assert points.sizes["point"] == 0
    names = points["status"].attrs["flag_meanings"].split()
    assert names[int(points["status"][0])] == "no_equilibrium"
    none = qs.cycle_branches("qif", points=3)
    assert none.sizes["branches"] == 0
    assert none["status"].attrs["flag_meanings"].split()[int(none["status"])] == "no_hopf_point"
    far = qs.cycle_branches(within=(100.0, 101.0), J=[15.0, 20.0], points=3)
    assert far["status"].values.tolist() == [1, 1]
    still = qs.cycle_branches("qif", at=-5.0, points=3, starts=1)
    assert still["status"].attrs["flag_meanings"].split()[int(still["status"])] == "no_cycle_found"
