# Two commands do everything on a fresh machine: `make demo` and `make test`. Each sets up what it needs.

PYTHON ?= $(shell for p in python3 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
INSTALLED := .venv/.installed
export UV_SYSTEM_CERTS := 1
export UV_NATIVE_TLS := 1

.PHONY: help setup install models index demo serve watch report test check audit bench fuzz load images image-test \
	population-test upgrade-test sbom lock proto clean distclean

help:
	@echo "make demo       sets up, starts the stack, anonymises sample photos into demo/, stops the stack"
	@echo "make report     people who do not exist, released at k = 5 and 10, and what that gives away -> build/example/"
	@echo "make test       sets up and runs every test"
	@echo "make serve      sets up and keeps the stack running on http://127.0.0.1:8080"
	@echo "make watch      as serve, with Prometheus and a page of its panels; TRAFFIC=1 sends sample photos"
	@echo "make check      formatter, linter, type checker"
	@echo "make audit      asks PyPI, or AUDIT=osv, for known vulnerabilities of what is locked; needs their network"
	@echo "make bench      stages, faces per second, time outside Triton; ratios to dlib and deface -> build/*.json"
	@echo "make fuzz       100,000 broken photos and 10,000 broken indexes through the readers -> build/fuzz.json"
	@echo "make load       load by HTTP and gRPC for four minutes, and a report with plots -> build/load/"
	@echo "make images     the container images, upon BASE=python:... or, BASE=local, upon Debian's packages alone"
	@echo "make image-test builds the images without a registry, and tries them as production runs them; as root"
	@echo "make population-test, make upgrade-test   the chart's job on a Ray of this machine; a Triton that is replaced"
	@echo "                under load, in the chart's times; some minutes each"
	@echo "make sbom       what is in the images, as CycloneDX -> build/sbom/"
	@echo "make setup      environment, models and demo population only"
	@echo "make proto      writes the code of the gRPC interface from services/proto/*.proto"
	@echo "make lock       compiles the lock files from pyproject.toml"
	@echo "make clean      removes results, logs, models and indexes; distclean also weights and the environment"

setup: index

install: $(INSTALLED)

$(INSTALLED): pyproject.toml requirements-dev.lock requirements-uv.lock
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 is needed; none of python3, python3.12, python3.11 is one"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing the locked packages ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements-dev.lock requirements-uv.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@echo "compiling the partitioners ..."
	@$(BIN)/python -m services.population.partition
	@touch $@

models: install
	@$(BIN)/anonfaces models pull
	@$(BIN)/anonfaces models convert --stale

index: models
	@$(BIN)/anonfaces population demo --missing

demo: setup
	@$(BIN)/anonfaces local demo --out demo

serve: setup
	@$(BIN)/anonfaces local serve

watch: setup
	@$(BIN)/anonfaces local watch $(if $(TRAFFIC),--traffic)

report: setup
	@$(BIN)/anonfaces models pull mobileface faceres age-gender emotion
	@for model in mobileface faceres age-gender emotion; do $(BIN)/anonfaces models convert $$model --stale || exit 1; done
	@$(BIN)/anonfaces report example build/example

test: setup
	@$(BIN)/python -m pytest

check: install
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

# Strict: a package that nobody could be asked about is a failure, not a pass.
audit: install
	@$(BIN)/uv tool run --quiet --from pip-audit==2.10.1 pip-audit --strict --vulnerability-service $(or $(AUDIT),pypi) \
		--require-hashes --disable-pip -r requirements.lock -r requirements-dev.lock

bench: setup
	@$(BIN)/anonfaces local bench --out build/bench.json
	@$(BIN)/anonfaces local compare --out build/compare.json

fuzz: install
	@$(BIN)/python -m tests.fuzz.campaign --photos 100000 --indexes 10000 --out build/fuzz.json

load: setup
	@$(BIN)/anonfaces local load --out build/load

images: install
	@$(BIN)/python -m deploy.container.images --base "$(BASE)"

image-test: setup
	@$(BIN)/python -m deploy.container.images --base local
	@$(BIN)/python -m pytest -s tests/deploy/image_trial.py

population-test: setup
	@$(BIN)/python -m pytest -s tests/deploy/population_trial.py

upgrade-test: setup
	@$(BIN)/python -m pytest -s tests/deploy/upgrade_trial.py

sbom: install
	@$(BIN)/python -m deploy.container.sbom build/sbom

proto: install
	@$(BIN)/python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. --grpc_python_out=. services/proto/anonfaces_v1.proto

lock: install
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header pyproject.toml --extra dev -o requirements-dev.lock
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header pyproject.toml -c requirements-dev.lock -o requirements.lock
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header pyproject.toml --extra convert \
		-c requirements-dev.lock -o requirements-models.lock
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header pyproject.toml --extra population \
		--extra ray --extra local -c requirements-dev.lock -o requirements-population.lock
	@echo "uv==$$($(BIN)/uv --version | cut -d' ' -f2)" | \
		$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header - -o requirements-uv.lock

clean:
	rm -rf demo build .anonfaces/run .anonfaces/indexes .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -rf model_repository/*/1

distclean: clean
	rm -rf .anonfaces .venv *.egg-info
