"""Parameters become labelled arrays of one shape, or are refused with a line that says what to do."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from qifscan.dynamics.models import QIF
from qifscan.errors import ScanError
from qifscan.scan.labels import complete, labelled

repeatable = settings(deadline=None, derandomize=True)


def refusal(function, *arguments) -> str:
    with pytest.raises(ScanError) as caught:
        function(*arguments)
    return str(caught.value)


def test_numbers_have_no_dimension():
    arrays = labelled({"eta": -5, "J": np.float32(15)})
    assert all(a.dims == () and a.dtype == np.float64 for a in arrays.values())
    assert float(arrays["eta"]) == -5.0
    assert float(arrays["J"]) == 15.0


def test_a_sequence_becomes_a_dimension_of_its_own_name_and_coordinate():
    eta = labelled({"eta": [-2, -1, 0]})["eta"]
    assert eta.dims == ("eta",)
    np.testing.assert_array_equal(eta, [-2.0, -1.0, 0.0])
    np.testing.assert_array_equal(eta.coords["eta"], [-2.0, -1.0, 0.0])


def test_dimensions_stand_in_the_order_in_which_they_were_given():
    arrays = labelled({"J": np.arange(3.0), "eta": np.arange(4.0), "tau": 1.0})
    assert {a.dims for a in arrays.values()} == {("J", "eta")}
    assert {a.shape for a in arrays.values()} == {(3, 4)}


def test_every_pair_of_values_meets_at_its_labels():
    arrays = labelled({"J": [1.0, 2.0], "eta": [3.0, 4.0, 5.0]})
    for J in (1.0, 2.0):
        for eta in (3.0, 4.0, 5.0):
            assert float(arrays["J"].sel(J=J, eta=eta)) == J
            assert float(arrays["eta"].sel(J=J, eta=eta)) == eta


def test_a_data_array_keeps_its_dimensions_and_coordinates():
    given_eta = xr.DataArray([[1, 2], [3, 4]], dims=("cell", "age"), coords={"age": [7, 8]})
    arrays = labelled({"eta": given_eta, "J": xr.DataArray([5.0, 6.0], dims="cell")})
    assert arrays["eta"].dims == ("cell", "age")
    assert arrays["J"].shape == (2, 2)
    np.testing.assert_array_equal(arrays["J"].coords["age"], [7, 8])


def test_an_unlabelled_data_array_along_its_own_name_labels_itself():
    arrays = labelled({"eta": xr.DataArray([1.0, 2.0], dims="eta")})
    np.testing.assert_array_equal(arrays["eta"].coords["eta"], [1.0, 2.0])


def test_the_given_array_is_not_changed():
    eta = xr.DataArray([1, 2], dims="eta", attrs={"kept": 1})
    before = eta.copy(deep=True)
    labelled({"eta": eta, "J": [1.0]})
    xr.testing.assert_identical(eta, before)


@repeatable
@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=5), st.lists(st.integers(-9, 9), max_size=4))
def test_labelling_agrees_with_numpy_broadcasting_and_changes_no_bit(eta, J):
    arrays = labelled({"eta": eta, "J": J})
    expected = np.broadcast_arrays(np.array(eta)[:, None], np.array(J, dtype=float)[None, :])
    assert arrays["eta"].values.tobytes() == expected[0].tobytes()
    assert arrays["J"].values.tobytes() == expected[1].tobytes()


def test_labelling_twice_changes_nothing():
    once = labelled({"eta": [1.0, 2.0], "J": [3.0]})
    for name, array in labelled(once).items():
        xr.testing.assert_identical(array, once[name])


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (np.zeros((2, 2)), "shape (2, 2)"),
        ([1.0, np.nan], "nan"),
        (np.inf, "inf"),
        ([np.nan, np.inf, 1.0, np.nan], "nan and 2 more"),
        ("high", '"high"'),
        (["1", "2"], '["1", "2"]'),
        (None, "nothing"),
        (True, "true"),
        (1j, "1j"),
        ([[1.0], [1.0, 2.0]], "ragged"),
        (xr.DataArray([np.nan], dims="x"), "nan"),
        (xr.DataArray(["a"], dims="x"), '["a"] of type <U1'),
    ],
)
def test_what_is_no_finite_number_is_refused_by_name(value, found):
    text = refusal(labelled, {"eta": value})
    assert text.startswith("eta: found ")
    assert found in text


def test_a_plane_without_names_is_told_to_name_its_dimensions():
    assert "give an xarray.DataArray with named dimensions" in refusal(labelled, {"J": np.zeros((2, 2))})


def test_coordinates_that_disagree_are_refused_rather_than_filled():
    one = xr.DataArray([1.0, 2.0], dims="x", coords={"x": [0, 1]})
    other = xr.DataArray([1.0, 2.0], dims="x", coords={"x": [1, 2]})
    text = refusal(labelled, {"eta": one, "J": other})
    assert text.startswith("eta, J: ")
    assert "\n" not in text
    refusal(labelled, {"eta": one, "J": xr.DataArray(np.zeros(3), dims="x")})


def test_a_parameter_that_contradicts_its_own_coordinate_is_refused():
    eta = xr.DataArray([1.0, 2.0], dims="eta", coords={"eta": [5.0, 6.0]})
    assert "rename the dimension" in refusal(labelled, {"eta": eta})


def test_parameters_that_are_not_given_have_their_defaults():
    arrays = complete({"J": [1.0, 2.0]}, QIF.parameters)
    assert {name: a.values.tolist() for name, a in arrays.items()} == {
        "J": [1.0, 2.0],
        "tau": 1.0,
        "eta": -5.0,
        "delta": 1.0,
    }
    assert arrays["tau"].dims == ()


def test_all_mistakes_are_told_at_once_one_line_each():
    text = refusal(complete, {"etta": 1.0, "tau": [1.0, 0.0, -1.0], "delta": 0.0, "J": "x"}, QIF.parameters)
    lines = dict(line.split(": ", 1) for line in text.splitlines())
    assert set(lines) == {"etta", "tau", "delta", "J"}
    assert 'did you mean "eta"?' in lines["etta"]
    assert "0 and 1 more" in lines["tau"]
    assert "above 0" in lines["delta"]


def test_a_parameter_without_default_must_be_given():
    from qifscan.dynamics.model import Parameter

    assert "found nothing" in refusal(
        complete, {}, [Parameter("gap", None, "1", "strength of the gap junctions")]
    )


def test_a_dimension_named_like_a_parameter_must_hold_its_values():
    eta = xr.DataArray([1.0, 2.0], dims="J", coords={"J": [10.0, 20.0]})
    assert "give J along it" in refusal(complete, {"eta": eta}, QIF.parameters)
    assert complete({"eta": eta, "J": [10.0, 20.0]}, QIF.parameters)["eta"].dims == ("J",)
