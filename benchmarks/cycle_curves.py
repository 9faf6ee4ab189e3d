"""Points of curves of folds and of period doublings of cycles against the variational equations.

For the pair with synapses of the public AUTO project RosaDelic/LargeScaleBrainModelAnalysis, self-coupled:
`points` drawn at random from each curve, a period of the variational equations by DOP853 at 1e-12. A double
multiplier 1 is off by the square root of an error: its mean and the product of both distances are told.
"""

import sys

import numpy as np
from scipy.integrate import solve_ivp

import qifscan as qs
from qifscan.dynamics.models import FAMILY

MODEL = "qif_pair_synapse"


def monodromy(model, point, names, **fixed):
    """The matrix of the variational equations over a period of a cycle with the parameters `names` at a point
    of a curve, by DOP853, and how far the orbit is from closed, relative to its size."""
    row = FAMILY[model]
    given = {p.name: p.default for p in row.parameters} | fixed
    given |= {name: point[name].item() for name in names}
    constants = row.constants(given)
    n = len(row.variables)

    def both(t, z):
        # One call of the field: the state, and beside it the state moved along each imaginary axis.
        states = z[:n, None] + 1e-30j * np.eye(n, n + 1, 1)
        slopes = np.array([s + 0.0 * states[0] for s in row.field(tuple(states), (0.0,) * n, constants)])
        jacobian = slopes[:, 1:].imag / 1e-30
        return np.concatenate((slopes[:, 0].real, (jacobian @ z[n:].reshape(n, n)).ravel()))

    start = np.array([point[f"{name}_start"].item() for name in row.variable_names])
    begin = np.concatenate((start, np.eye(n).ravel()))
    span = (0.0, point["period"].item())
    end = solve_ivp(both, span, begin, method="DOP853", rtol=1e-12, atol=1e-13).y[:, -1]
    return end[n:].reshape(n, n), np.abs(end[:n] - start).max() / np.abs(start).max()


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    draw = np.random.default_rng(0)
    for kind, at, sign in (("PD", 12.0, -1.0), ("LPC", 15.0, 1.0)):
        d = qs.curve(MODEL, kind, along="eta_e", through="eps", at=at, between=(-6.0, 40.0), points=150)
        ordinary = np.flatnonzero(d["type"].values == 0)
        errors, gaps = [], []
        for k in draw.choice(ordinary, min(count, len(ordinary)), replace=False):
            matrix, gap = monodromy(MODEL, d.isel(point=int(k)), ("eta_e", "eps"))
            mu = np.linalg.eigvals(matrix)
            near = sorted(mu, key=lambda m, sign=sign: abs(m - sign))
            double = max(abs(near[0] + near[1] - 2.0) / 2.0, abs((near[0] - 1.0) * (near[1] - 1.0)))
            errors.append(abs(near[0] + 1.0) if kind == "PD" else double)
            gaps.append(gap)
        print(
            f"{kind} from eps = {at:g}: {len(errors)} of {len(ordinary)} points, multiplier off by at most "
            f"{max(errors):.0e}, orbit by {max(gaps):.0e}"
        )


if __name__ == "__main__":
    main()
