"""Numbers of the user's own along curves of cycles."""

import numpy as np
import pytest

import qifscan as qs

GAP = {"through": "g", "at": 2.0, "period": 3.0, "J": 0.0, "points": 3, "between": (0.5, 3.0)}


def test_numbers_of_cycles_are_those_of_the_columns_that_tell_them_too():
    record = {
        "charge": lambda t, state, parameters: np.trapezoid(state["r"], t),
        "peak": lambda t, state, parameters: state["v"].max(),
        "whole": lambda t, state, parameters: t[-1] - t[0],
        "sum_of_both": lambda t, state, parameters: parameters["eta"] + parameters["g"],
    }
    found = qs.curve("qif_gap", "period", record=record, **GAP)
    assert found["charge"].values == pytest.approx((found["r_mean"] * found["period"]).values, rel=1e-5)
    assert found["peak"].values == pytest.approx(found["v_max"].values, rel=1e-4)
    assert found["whole"].values == pytest.approx(found["period"].values, rel=1e-12)
    assert found["sum_of_both"].values == pytest.approx((found["eta"] + found["g"]).values, rel=1e-12)


def test_what_a_function_changes_in_place_the_next_one_does_not_see():
    def spoilt(t, state, parameters):
        for array in (t, *state.values()):
            array.sort()
        parameters.clear()
        return state["r"][0]

    def whole(t, state, parameters):
        return np.trapezoid(state["r"], t) + parameters["g"]

    found = qs.curve("qif_gap", "period", record={"spoilt": spoilt, "whole": whole}, **GAP)
    alone = qs.curve("qif_gap", "period", record={"whole": whole}, **GAP)
    assert found["whole"].identical(alone["whole"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"record": {"charge": lambda t, state, parameters: state["x"][0]}}, "record charge: found KeyError"),
        ({"record": {"charge": 3.0}}, "a function of t, state, parameters"),
        ({"record": {"r_mean": len}}, "another name"),
        ({"record": {"2r": len}}, "names as Python has them"),
        ({"record": "r"}, "names with functions"),
    ],
)
def test_what_is_wrong_with_a_record_is_one_line(options, words):
    with pytest.raises(qs.ScanError) as error:
        qs.curve("qif_gap", "period", **GAP, **options)
    assert words in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_curves_of_equilibria_take_no_record():
    with pytest.raises(qs.ScanError, match="record"):
        qs.curve(kind="LP", record={"one": len})
