"""Curves of folds and Hopf points that are followed, of models with their graphs hidden, beside the graph.

    python benchmarks/off_graph_curves.py [SEED [SECONDS]]

Random slices: at 25 random values of the second parameter as many points of each curve as the graph has, and
the same cusps, Bogdanov-Takens and generalised Hopf points.
"""

import sys
import time
from dataclasses import replace

import numpy as np

import qifscan as qs
from qifscan.models import FAMILY

# The models by names under which they can be imported from this file.
globals().update({name: replace(row, name=name, rest=None) for name, row in FAMILY.items()})

BETWEEN = (-15.0, 15.0)
ADAPTING = {"J": (5.0, 35.0), "tau_a": (2.0, 30.0), "delta": (0.5, 3.0)}
CASES = {
    "qif": ("J", (2.0, 30.0), {"delta": (0.2, 2.0)}),
    "qif_adaptation_alpha": ("alpha", (0.05, 2.0), ADAPTING),
    "qif_adaptation_exponential": ("alpha", (0.05, 2.0), ADAPTING),
    "qif_depression_exponential": ("alpha", (0.01, 0.2), ADAPTING),
    "qif_gap": ("g", (0.3, 4.0), {"J": (-5.0, 30.0), "delta": (0.2, 2.0)}),
    "qif_conductance": ("g", (0.5, 20.0), {"e_s": (0.0, 10.0), "g_gap": (0.0, 3.0)}),
    "qif_pair": ("J_ie", (3.0, 20.0), {"eta_e": (-5.0, 5.0)}),
    "qif_synapse": ("J", (-30.0, 30.0), {"delta": (0.2, 1.0), "tau_d": (0.2, 5.0)}),
}
CODES = {"LP": 2, "HB": 3}


def curve(model, kind, names, **options):
    """The curves, None if there are none."""
    try:
        return qs.curve(model, kind, *names, **options)
    except qs.ScanError as error:
        if f"no {kind} with" not in str(error):
            raise
        return None


def marked(found, names):
    """Type and place of the points of codimension two between the ends of the first parameter."""
    if found is None:
        return []
    rows = zip(*(found[name].values for name in ("type", *names)), strict=True)
    return [row for row in rows if row[0] and BETWEEN[0] < row[1] < BETWEEN[1]]


def alike(a, b):
    return a[0] == b[0] and all(abs(x - y) < 1e-6 * (1.0 + abs(x)) for x, y in zip(a[1:], b[1:], strict=True))


def compared(name, kind, rng):
    """Points of the graph at random values, those missed and those that are not there; and the same of points
    of codimension two."""
    through, within, ranges = CASES[name]
    given = {key: float(rng.uniform(*ends)) for key, ends in ranges.items()}
    names = FAMILY[name].graph, through
    at = rng.uniform(*within, 25)
    exact = qs.special_points(name, names[0], within=BETWEEN, **{through: at}, **given)
    kinds = exact["type"].values == CODES[kind]
    expected = np.bincount(exact["slice"].values[kinds], minlength=len(at))
    found = curve(f"off_graph_curves:{name}", kind, names, between=BETWEEN, within=within, points=20, **given)
    there = np.zeros(len(at), dtype=int)
    if found is not None:
        off = found[through].values[:, None] - at
        there = ((off[1:] * off[:-1] < 0.0) & (np.diff(found["piece"].values) == 0)[:, None]).sum(axis=0)
    one, other = marked(curve(name, kind, names, within=within, **given), names), marked(found, names)
    missed = [a for a in one if not any(alike(a, b) for b in other)]
    false = [b for b in other if not any(alike(a, b) for a in one)]
    counts = np.array(
        [
            [expected.sum(), np.maximum(expected - there, 0).sum(), np.maximum(there - expected, 0).sum()],
            [len(one), len(missed), len(false)],
        ]
    )
    if counts[:, 1:].any():
        print(f"{name}, {kind}, {given}: {counts.tolist()}, {missed}, {false}", flush=True)
    return counts


def main():
    rng = np.random.default_rng(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    end = time.monotonic() + (float(sys.argv[2]) if len(sys.argv) > 2 else 300.0)
    total, planes = np.zeros((2, 3), dtype=int), 0
    while time.monotonic() < end:
        for name in CASES:
            total += sum(compared(name, kind, rng) for kind in CODES)
            planes += len(CODES)
    print("| planes | | points | missed | false |")
    print("|---|---|---|---|---|")
    for what, row in zip(("crossings", "codimension two"), total, strict=True):
        print(f"| {planes} | {what} | {' | '.join(map(str, row))} |")


if __name__ == "__main__":
    main()
