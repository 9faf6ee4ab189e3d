"""The codes of points in datasets of theory: AUTO's, and some of our own where AUTO has none."""

from __future__ import annotations

POINT = 0
"""An ordinary point."""

BP, LP, HB, NSA, CP, BT, GH = 1, 2, 3, 30, -22, -21, -32
"""Of equilibria: branch point, fold, Hopf point, neutral saddle (our own), cusp, Bogdanov-Takens and
generalised Hopf (Bautin) point."""

LPC, BPC, PD, TR = 5, 6, 7, 8
"""Of cycles: fold, branch point, period doubling, torus bifurcation."""

CPC, GPD, CH, R1, R2, R3, R4 = -52, -53, -54, -55, -56, -57, -58
LPPD, LPNS, PDNS, NSNS = -61, -62, -63, -64
"""Of curves of these, all our own: cusp of cycles, generalised period doubling, Chenciner point, strong
resonances, points at which two of them meet."""

UZ, EP, MX = -4, 9, -9
"""No bifurcations: a value that was asked for, an end, an end by failure."""

UNRESOLVED = 31
"""Of our own: a point whose multipliers are not known well enough to tell."""

OF_EQUILIBRIA = {"none": POINT, "LP": LP, "HB": HB, "NSA": NSA, "CP": CP, "BT": BT, "GH": GH}

OFF_GRAPH = OF_EQUILIBRIA | {"BP": BP}
"""Of models that are no graph over the rate: on a graph no two branches cross."""

OF_CYCLES = {
    **{"none": POINT, "HB": HB, "LPC": LPC, "BP": BPC, "PD": PD, "TR": TR, "EP": EP},
    "unresolved": UNRESOLVED,
}

OF_CURVES_OF_CYCLES = {
    **{"none": POINT, "EP": EP, "CPC": CPC, "GPD": GPD, "CH": CH, "R1": R1, "R2": R2, "R3": R3, "R4": R4},
    **{"LPPD": LPPD, "LPNS": LPNS, "PDNS": PDNS, "NSNS": NSNS, "unresolved": UNRESOLVED},
}

READ_OF_EQUILIBRIA = OFF_GRAPH | {"ZH": -23, "UZ": UZ, "EP": EP, "MX": MX}
"""What other programs' diagrams have besides: branch points, zero-Hopf points."""

READ_OF_CYCLES = OF_CYCLES | {
    **{"R1": -5, "R2": -6, "R3": -7, "R4": -8, "UZ": UZ, "EP": EP, "MX": MX},
    # What PyCoBi calls homoclinic by the growth of the period; AUTO has no codes for these.
    **{"HC": 40, "SNIC": 41},
}
