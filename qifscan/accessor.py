"""The accessor `ds.qs`: what one does with a dataset of this package, as methods of the dataset.

It is there on every dataset of xarray once both packages are imported, in whichever order; `register` is
called as soon as xarray is. It loads nothing before a method is called.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import qifscan
from qifscan.errors import Fault, ScanError

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

STORED = "the dataset of a finished or running store, as qifscan.run and qifscan.open_scan give it"


def register() -> None:
    """Give the datasets, trees and arrays of xarray the accessor."""
    import xarray as xr

    for kind in (xr.Dataset, xr.DataTree, xr.DataArray):
        if isinstance(vars(kind).get("qs"), type(None)):
            register_with = getattr(xr, f"register_{kind.__name__.lower()}_accessor")
            register_with("qs")(Accessor)


class Accessor:
    """Figures, trajectories and theory of a dataset of qifscan.

    `ds.qs.show()`, `ds.qs.phase_plane(eta=-5.0, J=15.0)`, `ds.qs.replay(eta=-5.0, J=15.0)`, ... A tree and an
    array can be shown too: `ds["r_mean"].qs.show()`.

    Raises
    ------
    ScanError
        By each method, with one line, where the dataset was not made by this package, or is not of a kind
        that the method works on.

    Examples
    --------
    >>> import qifscan as qs
    >>> found = qs.equilibria(eta=[-6.0, -5.0], J=15.0)
    >>> found.qs.decoded()["kind"].sel(eta=-5.0).values.tolist()
    ['node', 'saddle', 'focus']
    >>> found.qs.select(eta=-5.2, method="nearest")["count"].item()
    3
    """

    def __init__(self, dataset: xr.Dataset | xr.DataTree) -> None:
        self._dataset: Any = dataset

    def __repr__(self) -> str:
        names = [name for name in dir(Accessor) if not name.startswith("_")]
        return f"<qifscan accessor of a {type(self._dataset).__name__}: {', '.join(names)}>"

    def show(self, observables: Any = None, **options: Any) -> Figure:
        """Draw the dataset: `qifscan.show` with all of its options."""
        return qifscan.show(self._dataset, observables, **options)

    def select(self, *, method: str | None = None, **labels: Any) -> xr.Dataset:
        """Return the dataset at these values, up to rounding; with `method="nearest"` at the nearest ones.

        Unlike xarray's `sel` this finds 0.1 + 0.2 at 0.3, and refuses a number beyond the ends of an axis.
        """
        from qifscan.results.of_dataset import selected

        return selected(self._dataset if _is_array(self._dataset) else self._of("select"), labels, method)

    def decoded(self) -> xr.Dataset:
        """Return the dataset with its flags as words: `status`, `settled_on`, `type`, `kind`, `outcome`, ...

        A status of 0 is "not_run", one of several flags "computed, not_settled"; NaN is "".
        """
        from qifscan.results.of_dataset import decoded

        return decoded(self._of("decoded"))

    def replay(self, *, every: int = 1, method: str | None = None, **labels: Any) -> xr.Dataset:
        """Run a point of the dataset's store again: `qifscan.replay`.

        An axis at which the dataset has one value need not be given: `ds.sel(eta=-5.0).qs.replay(J=15.0)`.
        """
        path = self._store("replay")
        return qifscan.replay(path, every=every, method=method, **{**self._labels(), **labels})

    def simulate(self, *, t_end: float, **options: Any) -> xr.Dataset:
        """Simulate the dataset's model at its parameters: `qifscan.simulate` with all of its options.

        What has one value in the dataset is taken from it: parameters, those of the noise and the drive, and
        the initial state; what has several must be given. The drive is that of the scan unless another is.
        """
        from qifscan.results.of_dataset import model_of_dataset, run_of

        dataset = self._of("simulate")
        return qifscan.simulate(model_of_dataset(dataset).name, t_end=t_end, **run_of(dataset, options))

    def theory(self) -> xr.DataTree:
        """Return the theory that the dataset's store carries: `qifscan.open_theory`."""
        return qifscan.open_theory(self._store("theory"))

    def phase_plane(self, **options: Any) -> Figure:
        """Draw the phase plane at parameters of the dataset: `qifscan.phase_plane` with all of its options.

        Parameters that have one value in the dataset are taken from it; others must be given.
        """
        return qifscan.phase_plane(self._of("phase_plane"), **options)

    def linear_response(self, frequency: Any = None, **parameters: Any) -> xr.Dataset:
        """Return the linear response at parameters of the dataset: `qifscan.linear_response`.

        Parameters that have one value in the dataset are taken from it, those of the noise too; others must
        be given.
        """
        from qifscan.results.of_dataset import model_of_dataset, point_of

        dataset = self._of("linear_response")
        model = model_of_dataset(dataset).name
        return qifscan.linear_response(model, frequency, **point_of(dataset, parameters))

    def power_spectrum(self, **options: Any) -> xr.Dataset:
        """Return the power spectrum of the dataset's time series: `qifscan.power_spectrum`."""
        return qifscan.power_spectrum(self._of("power_spectrum"), **options)

    def explore(self, **options: Any) -> Any:
        """Open the explorer on the dataset's store, in a notebook below the cell: `qifscan.explore`."""
        return qifscan.explore(self._store("explore"), **options)

    def _of(self, method: str) -> Any:
        """Return the dataset; raise `ScanError` for a tree or an array."""
        if _is_array(self._dataset):
            hint = 'take dataset[["r_mean"]] in place of dataset["r_mean"]'
            raise ScanError([Fault(f"qs.{method}", "a DataArray", "the dataset that it is of", hint)])
        if hasattr(self._dataset, "children"):
            names = ", ".join(self._dataset.children) or "none"
            expected = f"a dataset: one of {names}"
            raise ScanError(
                [Fault(f"qs.{method}", "a DataTree", expected, 'e.g. tree["equilibria"].to_dataset()')]
            )
        return self._dataset

    def _store(self, method: str) -> str:
        """Return the path of the dataset's store; raise `ScanError` where it has none."""
        dataset = self._of(method)
        source = dataset.encoding.get("source")
        if "qifscan_scan" not in dataset.attrs or source is None:
            found = "a dataset of no scan" if source is None else "a dataset without its scan"
            call = "open_theory" if method == "theory" else method
            hint = f"or call qifscan.{call} with the path of the store"
            raise ScanError([Fault(f"qs.{method}", found, STORED, hint)])
        if not os.path.exists(source):
            raise ScanError([Fault(f"qs.{method}", f"no store at {source} any more", STORED)])
        return str(source)

    def _labels(self) -> dict[str, Any]:
        """Return the values of those axes of the scan that have one value in the dataset."""
        from qifscan.results.of_dataset import scan_of

        scan, coords = scan_of(self._dataset), self._dataset.coords
        sizes = {} if scan is None else scan.sizes
        return {
            name: coords[name].values.item() for name in sizes if name in coords and coords[name].size == 1
        }


def _is_array(data: Any) -> bool:
    return not hasattr(data, "data_vars")
