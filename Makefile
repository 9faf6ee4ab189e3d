# make demo | test | thorough | lint | docs | gallery | bench | proof | battery | exact | same | truth | faults | load; each sets up what it needs in .venv on first use.
PYTHON ?= python3
EXAMPLES ?= 1
BIN := .venv/bin
# Only what is imported is compiled, then: a third of the time.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt

.PHONY: ready demo test thorough lint docs gallery bench proof battery exact same truth faults load clean

# What test, lint and docs need, at once: each call of pip takes ten seconds to see that all is there.
ready: .venv/python.stamp
	@$(PIP) --editable '.[test,lint,docs]'
	@touch .venv/run.stamp .venv/test.stamp .venv/lint.stamp .venv/docs.stamp

demo: .venv/demo.stamp
	$(BIN)/qifscan run scans/quickstart.toml
	$(BIN)/qifscan show scans/quickstart.toml
	@echo "to explore    $(BIN)/qifscan explore quickstart.zarr"

test: .venv/test.stamp
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

# What takes long and has a shorter relative in `make test`.
thorough: .venv/test.stamp
	$(BIN)/python -m pytest --numprocesses 2 -m thorough

lint: .venv/lint.stamp
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

# With EXAMPLES=0 the code of pages is shown and not run: a sixth of the time.
docs: .venv/docs.stamp
	$(BIN)/python -m sphinx --builder html --fail-on-warning --keep-going --quiet --define run_examples=$(EXAMPLES) docs docs/_build/html
	@echo "the manual is docs/_build/html/index.html"

gallery: .venv/test.stamp
	$(BIN)/python docs/gallery/run.py

battery: .venv/test.stamp
	$(BIN)/python benchmarks/noise_battery.py

exact: .venv/test.stamp
	$(BIN)/python benchmarks/exact.py

bench: .venv/bench.stamp
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/standard_map.py
	$(BIN)/python benchmarks/work_precision.py
	$(BIN)/python benchmarks/network.py
	$(BIN)/python benchmarks/networks.py
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/time_to_accuracy.py
	$(BIN)/python benchmarks/cycles.py
	$(BIN)/python benchmarks/cycle_curves.py
	$(BIN)/python benchmarks/bifurcation.py
	$(BIN)/python benchmarks/cost.py
	$(BIN)/python benchmarks/device.py
	$(BIN)/python benchmarks/explorer.py

proof: .venv/test.stamp
	$(BIN)/python benchmarks/theory_and_simulation.py
	$(BIN)/python benchmarks/slices.py

same: .venv/test.stamp
	$(BIN)/python benchmarks/same.py

truth: .venv/test.stamp
	$(BIN)/python benchmarks/truth.py

faults: .venv/test.stamp
	$(BIN)/python benchmarks/faults.py

load: .venv/test.stamp
	$(BIN)/python benchmarks/service_load.py

clean:
	rm -rf .venv docs/_build quickstart.zarr quickstart.png standard_map.json work_precision.json network.json networks.json speed.json noise_battery.json time_to_accuracy.json bifurcation.json cost.json device.json explorer.json exact.json theory_and_simulation.json slices.json truth.json delay_points.json

.venv/python.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "qifscan needs Python 3.11 or newer; set PYTHON=, e.g. make demo PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv/run.stamp: .venv/python.stamp pyproject.toml constraints.txt
	@echo "setting up .venv (about a minute)"
	@$(PIP) --editable .
	@touch $@

# The explorer's server with it: 3 MB.
.venv/demo.stamp: .venv/run.stamp
	@$(PIP) --editable '.[serve]'
	@touch $@

.venv/test.stamp: .venv/run.stamp
	@$(PIP) --editable '.[test]'
	@touch $@

# A peer that can't be installed on this machine is left out of the tables.
.venv/bench.stamp: .venv/test.stamp
	@$(PIP) --editable '.[bench]' || echo "without the peers of the bench extra"
	@touch $@

.venv/docs.stamp: .venv/run.stamp
	@$(PIP) --editable '.[docs]'
	@touch $@

.venv/lint.stamp: .venv/run.stamp
	@$(PIP) --editable '.[lint]'
	@touch $@
