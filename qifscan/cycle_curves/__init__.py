"""Curves of bifurcations of cycles, and of homoclinic orbits, in two parameters.

`curves` follows them, with what they meet on the way in `curve_bifurcations` and `resonances`;
`homoclinic_curves` follows homoclinic orbits. `bautin` begins curves of folds at generalised Hopf points;
`asked` reads what is asked for. Begin with `curves`.
"""
