# make demo: the first table, from nothing.   make test: everything that CI runs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test chaos fuzz check docs fix bench wheel clean packages

demo: $(VENV)/installed
	$(BIN)/python sweeps/digits_transfer.py

# Two processes compute, as for two cores; the third mostly waits for SLURM (tests/schedule.py).
test: check packages
	$(BIN)/pytest --numprocesses 3

# Reports are tested in a real browser, outages on a real file system. Without root, tests of what is missing are skipped.
packages:
	@{ command -v chromium && command -v bindfs; } >/dev/null || [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null || \
	{ apt-get update -q && DEBIAN_FRONTEND=noninteractive \
	apt-get install -qy --no-install-recommends chromium fonts-dejavu-core bindfs; }

chaos: $(VENV)/installed packages
	$(BIN)/pytest -m chaos

# About ten minutes on two cores.
fuzz: $(VENV)/installed
	$(BIN)/pytest -m fuzz --numprocesses 2

check: docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The pages, in site/; a link that leads nowhere is an error.
docs: $(VENV)/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

fix: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The quick figures, and the table of docs/measured.md with these beside it; less than ten minutes on two
# idle cores.
# They go into a folder of their own: those in benchmarks/results are of other machines.
bench: $(VENV)/installed
	set -e; BENCHMARK_RESULTS=$$(mktemp -d); export BENCHMARK_RESULTS; \
	for name in startup heads input step; do $(BIN)/python benchmarks/$$name.py --repeats 2; done; \
	$(BIN)/python benchmarks/probe.py --repeats 1; \
	$(BIN)/python benchmarks/driver.py --trials 300,1000 --repeats 1; \
	$(BIN)/python benchmarks/table_of_speed.py --results $$BENCHMARK_RESULTS; \
	echo "All figures are in $$BENCHMARK_RESULTS."

# The wheel with each extra in new environments, for each Python from 3.11 on; downloads gigabytes.
wheel:
	bash .ci/wheel

clean:
	rm -rf $(VENV)

$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed; PYTHON=... names it"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || [ "$$(id -u)" != 0 ] || { apt-get update -q && apt-get install -qy --no-install-recommends python3-venv; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[all,test,docs]'
	@touch $@
