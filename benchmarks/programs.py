"""Runs of The Virtual Brain and of PyRates, from which the numbers in tests/test_parameters.py are.

In an environment of its own with `pip install tvb-library==2.10.0 pyrates==1.2.3`:

    python benchmarks/programs.py

TVB: one node by its Heun method without noise, at a step of 0.001 ms. PyRates: SciPy's DOP853. Prints every
model with its parameters by the names of the program, the state at the start, how long, and that at the end.
"""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np

TVB: tuple[tuple[str, dict[str, float], list[float], float], ...] = (
    (
        "MontbrioPazoRoxin",
        {"tau": 2.0, "I": 0.5, "Delta": 0.7, "J": 14.5, "eta": -4.6},
        [0.1, -1.0],
        20.0,
    ),
    (
        "GastSchmidtKnosche_SF",
        {"tau": 1.5, "tau_A": 8.0, "alpha": 6.0, "I": 0.2, "Delta": 1.5, "J": 20.0, "eta": -1.0},
        [0.3, -0.5, 1.0, 0.2],
        20.0,
    ),
    (
        "GastSchmidtKnosche_SD",
        {"tau": 1.0, "tau_A": 10.0, "alpha": 0.5, "I": 0.0, "Delta": 2.0, "J": 21.2132, "eta": -5.5},
        [0.3, -0.5, 0.1, 0.02],
        20.0,
    ),
    (
        "CoombesByrne",
        {"Delta": 0.5, "alpha": 0.95, "v_syn": -10.0, "k": 1.0, "eta": 20.0},
        [0.4, 0.3, 0.5, 0.1],
        10.0,
    ),
    (
        "DumontGutkin",
        {
            **{"I_e": 8.0, "Delta_e": 1.0, "eta_e": -5.0, "tau_e": 10.0, "I_i": 1.0, "Delta_i": 0.8},
            **{"eta_i": -5.0, "tau_i": 9.0, "tau_s": 1.3, "J_ee": 3.0, "J_ei": 10.0, "J_ie": 12.0},
            **{"J_ii": 15.0, "Gamma": 5.0},
        },
        [0.05, -0.5, 0.1, 0.2, 0.02, -1.0, 0.3, 0.1],
        40.0,
    ),
)
PYRATES: tuple[tuple[str, dict[str, float], dict[str, float], float], ...] = (
    ("qif", {"tau": 2.0, "Delta": 0.7, "eta": -4.6, "I_ext": 0.5}, {"r": 0.1, "v": -1.0}, 20.0),
    (
        "qif_sfa",
        {"tau": 1.5, "Delta": 1.5, "eta": -1.0, "alpha": 0.7, "tau_a": 8.0},
        {"r": 0.3, "v": -0.5, "a": 1.0, "x": 0.2},
        20.0,
    ),
    (
        "qif_conduct",
        {"tau": 1.5, "Delta": 0.8, "eta": 1.0, "g": 2.0, "e_r": -1.5, "tau_s": 2.5},
        {"r": 0.3, "v": -0.5, "s": 0.2},
        20.0,
    ),
)


def node(name: str, parameters: dict[str, float], start: list[float], t_end: float) -> list[float]:
    """Return the last state of one node of a model of TVB."""
    from tvb.datatypes.connectivity import Connectivity
    from tvb.simulator import coupling, integrators, models, monitors, simulator

    model = getattr(models, name)(**{key: np.array([x]) for key, x in parameters.items()})
    model.variables_of_interest = model.state_variables
    alone = Connectivity(
        weights=np.zeros((1, 1)),
        tract_lengths=np.zeros((1, 1)),
        region_labels=np.array(["node"]),
        centres=np.zeros((1, 3)),
        speed=np.array([1.0]),
    )
    made = simulator.Simulator(
        model=model,
        connectivity=alone,
        coupling=coupling.Linear(a=np.array([0.0])),
        integrator=integrators.HeunDeterministic(dt=1e-3),
        monitors=(monitors.Raw(),),
        simulation_length=t_end,
        initial_conditions=np.array(start).reshape(1, len(start), 1, 1),
    )
    made.configure()
    ((_, states),) = made.run()
    return [float(f"{x:.10g}") for x in states[-1, :, 0, 0]]


def circuit(name: str, parameters: dict[str, float], start: dict[str, float], t_end: float) -> list[float]:
    """Return the last state of a circuit of PyRates."""
    from pyrates import CircuitTemplate

    made: Any = CircuitTemplate.from_yaml(f"model_templates.neural_mass_models.qif.{name}")
    made.update_var(node_vars={f"p/{name}_op/{key}": x for key, x in {**parameters, **start}.items()})
    found = made.run(
        simulation_time=t_end + 0.01,
        step_size=1e-3,
        sampling_step_size=1e-2,
        outputs={key: f"p/{name}_op/{key}" for key in start},
        solver="scipy",
        method="DOP853",
        rtol=1e-10,
        atol=1e-12,
        float_precision="float64",
        clear=True,
    )
    return [float(f"{found[key].values[-1]:.10g}") for key in start]


def main() -> None:
    logging.disable(logging.CRITICAL)
    warnings.filterwarnings("ignore")
    for name, parameters, start, t_end in TVB:
        print(name, parameters, start, t_end, node(name, parameters, start, t_end))
    for name, values, begin, t_end in PYRATES:
        print(name, values, begin, t_end, circuit(name, values, begin, t_end))


if __name__ == "__main__":
    main()
