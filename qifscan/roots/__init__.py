"""Zeros of functions and polynomials, with a proof of their number where there is one. Knows no model.

`zeros` finds those of any function on cells of a grid; `algebra`, `whole` and `isolation` count those of
polynomials and fractions of them; `tracing` follows the curves F(x, y) = 0; `taylor` has derivatives by
arithmetic, as all theory needs them. Any of them can be used alone. Begin with `zeros`.
"""
