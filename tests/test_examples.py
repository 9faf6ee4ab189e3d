"""Every public name has a short example in its docstring, and what it prints is what stands there."""

import doctest

import numpy as np
import pytest

import qifscan as qs
from qifscan import models, observables
from qifscan.accessor import Accessor

WITHOUT = {
    "__version__",
    # That of their base, of which they are kinds.
    "RunError",
    "RunInterrupted",
}

FURTHER = {
    "Accessor": Accessor,
    **{name: getattr(models, name) for name in ("Model", "Parameter", "Variable")},
    **{name: getattr(observables, name) for name in ("Observable", "highest_of", "mean_of")},
}
"""What users reach by another way than `qs.<name>`."""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder of its own, in which numbers print as they do at first."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    with np.printoptions(legacy=False):
        yield


@pytest.mark.parametrize("name", [*(name for name in qs.__all__ if name not in WITHOUT), *FURTHER])
def test_the_example_of_a_public_name_gives_what_stands_there(here, name, caplog):
    """Those that start processes, a server or a browser are skipped: the manual shows them."""
    function = FURTHER[name] if name in FURTHER else getattr(qs, name)
    function = getattr(function, "models", function) if name == "models" else function
    found = doctest.DocTestFinder(recurse=False).find(function, name, globs={})
    assert found, name
    assert found[0].examples, name
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    told = []
    runner.run(found[0], out=told.append)
    assert not runner.failures, "".join(told)
