"""The family: at rest nothing moves but v, and the parameter of the graph moves its variable alone."""

import numpy as np
import pytest

from qifscan.dynamics.models import FAMILY

RATES = np.geomspace(0.01, 3.0, 40)


def typical(model, **changes):
    """Return parameters of a model, those at 0 by default included with something to do."""
    values = {p.name: np.float64(p.default) for p in model.parameters}
    return values | {"g": np.float64(2.0)} | changes


def slopes(model, state, parameters):
    """Return the derivatives without noise and drive."""
    return model.field(state, (0.0,) * len(state), model.constants(parameters))


@pytest.mark.parametrize("name", FAMILY)
def test_at_rest_every_equation_but_the_driven_one_is_zero(name):
    model = FAMILY[name]
    state = model.rest(RATES, typical(model))
    found = dict(zip(model.variable_names, slopes(model, state, typical(model)), strict=True))
    assert np.array_equal(state[0], RATES)
    assert all(
        np.allclose(found[other], 0.0, atol=1e-11) for other in model.variable_names if other != model.driven
    )


@pytest.mark.parametrize("name", FAMILY)
def test_the_parameter_of_the_graph_shifts_the_driven_equation_alone(name):
    model = FAMILY[name]
    given = typical(model)
    state = model.rest(RATES, given)
    before = slopes(model, state, given)
    after = slopes(model, state, given | {model.graph: given[model.graph] + 3.0})
    for variable, a, b in zip(model.variable_names, before, after, strict=True):
        moved = 3.0 / given["tau" + model.driven.removeprefix("v")] if variable == model.driven else 0.0
        assert np.all(np.abs(b - a - moved) <= 1e-12 * np.maximum(np.abs(a), 1.0)), variable


@pytest.mark.parametrize(
    ("name", "width"), [("qif_adaptation_alpha", 1.0), ("qif_depression_alpha", 0.05), ("qif_synapse", 0.0)]
)
def test_without_its_slow_part_a_relative_has_the_field_of_the_plain_model(name, width):
    model, plain = FAMILY[name], FAMILY["qif"]
    given = typical(model, **({"alpha": np.float64(0.0)} if width else {}))
    state = model.rest(RATES, given)
    found = slopes(model, state, given)[:2]
    expected = slopes(plain, state[:2], given)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
