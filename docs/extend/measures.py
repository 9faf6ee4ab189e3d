"""An observable of my own."""

from qifscan.observables import mean_of

product = mean_of(
    lambda state: state[0] * state[1], "1/ms", "rate times mean potential, mean over time"
)
