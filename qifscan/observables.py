"""What a file with an observable of your own imports: a mean, a highest value, the parts of any other."""

from qifscan.dynamics.accumulators import SEGMENT, Accumulator, Instant, Window
from qifscan.dynamics.observables import Observable
from qifscan.dynamics.own import highest_of, mean_of

__all__ = ["SEGMENT", "Accumulator", "Instant", "Observable", "Window", "highest_of", "mean_of"]
