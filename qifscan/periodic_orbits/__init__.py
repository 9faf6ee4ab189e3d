"""Periodic orbits as boundary value problems: solved, and their multipliers. Nothing is followed here.

`problem` says whose orbits they are, `orbits` what one is on its mesh, and `collocation` solves for many at
once, with `elimination`; `floquet` has the multipliers. `marginal` solves for cycles with a multiplier on the
unit circle, `conditioning` tells how far that may be off, `cycle_normal_forms` what decides there.
`projection` solves for orbits homoclinic to a saddle, which is in `saddles`. What is different with a delay
has files of its own, `delayed_problem` and others. `collocation`, `elimination` and `floquet` know no model
by name and can be used alone. Begin with `collocation`.
"""
