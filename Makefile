# Every target first makes its prerequisites. `make help` lists the targets.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# docker when an engine answers, local when none does; RUNNER=... decides explicitly
RUNNER ?= $(shell docker info >/dev/null 2>&1 && echo docker || echo local)
RUNNER := $(RUNNER)
ifeq ($(filter docker local,$(RUNNER)),)
$(error RUNNER is "$(RUNNER)"; it can be docker or local)
endif

export RUNNER
# compile at installation: with PYTHONDONTWRITEBYTECODE, Python would compile at each start
export UV_COMPILE_BYTECODE := 1

CONNECTOR := bin/toubib-connector
UV := .venv/bin/uv

ifeq ($(RUNNER),docker)
SERVE := docker compose up toubib
CHANGE := docker compose --progress quiet run --rm --no-deps toubib toubib-api change
else
SERVE := umask 077; .venvs/toubib-api/bin/toubib-api serve
CHANGE := .venvs/toubib-api/bin/toubib-api change
endif

.PHONY: help build init-db run status sql report full-refresh rebuild-history schedule docs demo api change test test-all \
  test-docker test-days build-spark test-spark bench-spark endurance bench lint requirements sbom audit clean

help: ## List the targets
	@awk -F ':.*## ' '/^##@/ { print substr($$0, 5) ":" } /^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' Makefile

##@ Running
run: build ## Replicate the patients: extract, load, transform, test
	@$(CONNECTOR) run

status: build ## Show the last runs, how old the data are, and how many
	@$(CONNECTOR) status

sql: build ## Open a prompt on the database, read only, with a few ready queries
	@$(CONNECTOR) sql

report: build ## Draw the patients, their changes and the runs into one HTML file beside the DuckDB file
	@$(CONNECTOR) report

schedule: build ## Run by the schedules of meltano.yml until Ctrl+C
	@$(CONNECTOR) schedule

full-refresh: build ## Like run, with every patient read again
	@$(CONNECTOR) run --full-refresh

rebuild-history: build ## Build the history again from raw
	@$(CONNECTOR) rebuild-history

docs: build ## Make the page that describes the tables and where they come from
	@$(CONNECTOR) docs

init-db: build ## Make the schemas and empty tables of the destination, and list them
	@$(CONNECTOR) init-db

##@ Trying it with made-up patients
demo: build ## Load made-up patients, change and delete some, load again and show the history, in .demo
	@bin/demo

api: build ## Serve the bundled API on port 8000 until Ctrl+C
	@$(SERVE)

change: build ## Change patients of the bundled API; UPDATE=3 CREATE=2 REMOVE=1
	@$(CHANGE) --update $(or $(UPDATE),3) --create $(or $(CREATE),2) --remove $(or $(REMOVE),1)

##@ Installing
build: build-$(RUNNER) ## Install everything: the image toubib_connector, or the local virtual environments

clean: ## Remove all installations; the data stay
	@rm -rf .venv .venvs .meltano .bench .demo .*_cache .hypothesis {transform,spark}/{logs,target}

##@ Developing (needs Python, even with Docker)
# prerequisites of the tests of all packages
TESTS := build-local .venvs/dev/installed
# one worker more than cores, since tests also wait
PYTEST := .venvs/dev/bin/pytest --numprocesses $$(($$(getconf _NPROCESSORS_ONLN) + 1)) --dist worksteal

test: $(TESTS) ## Run the tests that a contributor runs all day, in minutes
	@$(PYTEST) -m "not complete" $(PYTEST_ARGS)

test-all: $(TESTS) ## The same, and slow tests: kills, the clock, more examples, endurance, containers, Spark
	@$(PYTEST) --hypothesis-profile complete $(PYTEST_ARGS)
	@$(MAKE) --no-print-directory endurance RUNS=$(or $(RUNS),15)
	@if [ "$$(uname -sm)" = "Linux x86_64" ]; then $(MAKE) --no-print-directory test-days; \
	  else echo "Left out: other days, since libfaketime is installed on Linux on x86 only"; fi
	@if docker info >/dev/null 2>&1; then $(MAKE) --no-print-directory test-docker; \
	  else echo "Left out: the containers, since no Docker engine answers"; fi
	@if java -version 2>&1 | grep -q 'version "17'; then $(MAKE) --no-print-directory test-spark; \
	  else echo "Left out: Spark, since there is no Java 17"; fi

# local times: the last day of a month, a leap day, the last and the first minutes of a month
DAYS := 2027-01-31T12:00 2028-02-29T12:00 2026-12-31T23:30 2027-03-01T00:10
DAY_TESTS := toubib-api/tests tests/commands/test_{reports,schedule}.py tap-toubib/tests/test_tap_{changes,state}.py

test-days: $(TESTS) ## Test what depends on the day on the last one of a month and others, far from UTC; needs Linux on x86
	@export TZ=Pacific/Auckland LC_ALL=C FAKETIME_DONT_FAKE_MONOTONIC=1; \
	for day in $(DAYS); do echo "On $$day:"; \
	  LD_PRELOAD=$$(echo $$PWD/.venvs/dev/lib/*/site-packages/libfaketime/vendor/libfaketime/src/libfaketime.so.1) \
	  FAKETIME=$$(printf %+d $$(($$(date -d $$day +%s) - $$(date +%s)))) \
	  $(PYTEST) -m "not complete" $(or $(PYTEST_ARGS),$(DAY_TESTS)) || exit 1; \
	done

BENCH := .venvs/dev .venvs/bench-dlt .venvs/bench-plain
bench: build-local $(BENCH:=/installed) ## Measure beside dlt, a plain stack and the bare limit; SIZES=10000,100000
	@.venvs/dev/bin/python benchmarks/bench.py $(if $(SIZES),--sizes $(SIZES)) $(BENCH_ARGS)

test-docker: .venvs/dev/installed ## Test the images and the commands in containers
	@.venvs/dev/bin/pytest tests/slow/containers.py $(PYTEST_ARGS)

endurance: build-local .venvs/dev/installed ## Run again and again under kills, outages and a full disk; RUNS=200
	@RUNS=$(or $(RUNS),200) .venvs/dev/bin/pytest tests/slow/endurance.py $(PYTEST_ARGS)

lint: .venvs/dev/installed ## Check style, types and SQL
	@.venvs/dev/bin/ruff check
	@.venvs/dev/bin/ruff format --check
	@.venvs/dev/bin/mypy tap-toubib
	@.venvs/dev/bin/mypy target-duckdb
	@.venvs/dev/bin/mypy toubib-api connector
	@.venvs/dev/bin/mypy tests benchmarks
	@MYPYPATH=spark/tests .venvs/dev/bin/mypy spark
	@.venvs/dev/bin/sqlfluff lint --disable-progress-bar transform/models transform/tests

requirements: .venv/installed ## Compile requirements/*.in; UPGRADE=1 takes newer versions
	@for file in requirements/*.in; do $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	  --no-header --no-annotate $(if $(UPGRADE),--upgrade) $$file --output-file $${file%.in}.txt; done

sbom: .venvs/audit/installed ## Write sbom.json, the bill of materials of the image without its base
	@cat requirements/{meltano,tap-toubib,target-duckdb,dbt}.txt | .venvs/audit/bin/cyclonedx-py requirements --output-file sbom.json -

audit: .venvs/audit/installed ## Ask the advisory database for known vulnerabilities of every pinned requirement
	@for file in requirements/*.txt; do echo $$file; .venvs/audit/bin/pip-audit --strict --disable-pip --require-hashes -r $$file; done

# -- the local runner ---------------------------------------------------------------------------------------------------

IS_SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
  $$python -c '$(IS_SUPPORTED)' 2>/dev/null && echo $$python && break; \
  done)
INSTALL := $(UV) pip install --quiet --no-deps --build-constraints requirements/build.txt

INSTALL_PLUGINS = .venv/bin/meltano install --clean $1 >.venv/plugins.log 2>&1 || { cat .venv/plugins.log >&2; exit 1; }

.PHONY: build-local
build-local: .venv/installed .meltano/installed .venvs/toubib-api/installed

# environments contain their path: a copied or moved project makes them again
ifneq "$(shell cat .venv/installed 2>/dev/null)" "$(CURDIR)"
.PHONY: .venv/installed
endif

.venv/installed: requirements/meltano.txt requirements/build.txt connector/pyproject.toml
	@$(or $(PYTHON),false) -c '$(IS_SUPPORTED)' || \
	  { echo "Python 3.11, 3.12 or 3.13 is needed outside Docker; PYTHON=/path/to/python names one" >&2; exit 1; }
	@echo "Installing Meltano and the commands into .venv"
	@$(PYTHON) -m venv --clear .venv
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/meltano.txt
	@$(INSTALL) --python .venv --editable connector
	@pwd -P >$@

.meltano/installed: .venv/installed meltano.yml requirements/tap-toubib.txt requirements/target-duckdb.txt \
    requirements/dbt.txt tap-toubib/pyproject.toml target-duckdb/pyproject.toml
	@echo "Installing the plugins into .meltano"
	@$(call INSTALL_PLUGINS,tap-toubib target-duckdb dbt)
	@touch $@

.venvs/%/installed: .venv/installed requirements/%.txt
	@echo "Installing requirements/$*.txt into .venvs/$*"
	@$(UV) venv --quiet --clear --python .venv/bin/python .venvs/$*
	@$(INSTALL) --python .venvs/$* -r requirements/$*.txt $(EDITABLE)
	@touch $@

.venvs/toubib-api/installed: EDITABLE := --editable toubib-api
.venvs/dev/installed: EDITABLE := --editable toubib-api --editable tap-toubib --editable target-duckdb --editable connector

# -- spark/ -------------------------------------------------------------------------------------------------------------

build-spark: build-local .meltano/spark-installed ## Install Spark and its plugins, which need Java 17; see spark/

test-spark: build-spark .venvs/dev/installed ## Compare the tables on a Spark cluster, started for it, with DuckDB's
	@PYTHONPATH=spark/tests .venvs/dev/bin/pytest spark/tests $(PYTEST_ARGS)

bench-spark: build-spark .venvs/dev/installed ## Measure builds of the history on a Spark cluster at two sizes
	@PYTHONPATH=spark/tests:tests/support .venvs/dev/bin/python spark/benchmark.py

.meltano/spark-installed: .meltano/installed spark/plugins.meltano.yml requirements/target-jsonl.txt requirements/dbt-spark.txt
	@echo "Installing Spark and its plugins into .meltano"
	@$(call INSTALL_PLUGINS,target-jsonl dbt-spark)
	@touch $@

# -- the image ----------------------------------------------------------------------------------------------------------

.PHONY: build-docker
build-docker:
	@docker image inspect toubib_connector >/dev/null 2>&1 || echo "Building the image toubib_connector"
	@docker build --quiet --tag toubib_connector . >/dev/null
