# `make` alone prints what it can do.
PARAMS ?= params/default.yaml
PYTHON ?= python3
PORT ?= 8888
DATA ?= data
BIN := .venv/bin
READY := .venv/.ready
# glibc keeps what was freed: networks this small otherwise spend a quarter of their time on getting the same pages again.
KEEP := MALLOC_MMAP_THRESHOLD_=1073741824 MALLOC_TRIM_THRESHOLD_=1073741824
GROUPS := -n 3 --dist loadfile --no-loadscope-reorder
PYTEST := $(KEEP) $(BIN)/python -m pytest
COMPOSE := docker compose --env-file .env $(if $(wildcard .env.local),--env-file .env.local)

.DEFAULT_GOAL := help
.PHONY: help setup data run test test-fast test-slow test-all lab explore app lint server server-down server-env server-pin server-backup server-restore server-upgrade showcase lock clean

help:  ## what make can do
	@echo "fashion-gan: a GAN that designs clothes, or images like your own. Targets:"
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20
	@echo "Variables: PARAMS=$(PARAMS) PORT=$(PORT) PYTHON=$(PYTHON)"

setup: $(READY)  ## make .venv and install everything at the locked versions

# The stamp is written last, so an interrupted install is finished by the next call.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $(PYTHON) is older than 3.11; install Python 3.11 or newer, or say make PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "error: $(PYTHON) has no venv module; on Debian or Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	@echo "installing into .venv: about 6.5 GB on disk, 1 to 10 minutes (torch with CUDA is most of it)"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $(READY)

data: $(READY)  ## get Fashion-MNIST into data/ (system copy, download, or Debian's package)
	@sh scripts/get-data.sh "$(DATA)"

run: data  ## the main job: explore, train, evaluate, sample, report (PARAMS=params/smoke.yaml for seconds)
	@$(BIN)/fashion-gan run $(PARAMS)

test: data  ## the test suite for everybody: every behaviour with its real parts
	@$(PYTEST) $(GROUPS) -m "not slow"

test-fast: data  ## its inner loop: functions and small tensors, no process started, within a minute
	@$(PYTEST) -n 2 -m fast

test-slow: data  ## only what test-all adds to test
	@$(PYTEST) $(GROUPS) -m slow

test-all: data  ## and what needs clusters, a Docker engine, many kills and faults
	@$(PYTEST) $(GROUPS)

lab: data  ## JupyterLab on the notebooks (PORT=8888)
	@$(BIN)/fashion-gan lab --port $(PORT)

explore: data  ## play: JupyterLab on 05_explorer (PORT=8888)
	@$(BIN)/fashion-gan lab --port $(PORT) --notebook 05_explorer

app: data  ## play: the explorer as a page of its own, by Voilà, no code shown (PORT=8888)
	@$(BIN)/fashion-gan app --port $(PORT)

lint: $(READY)  ## ruff, the layers of the package, what it declares, secrets in git, and that notebooks are stripped
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/deptry .
	@git ls-files -z | xargs -0 $(BIN)/detect-secrets-hook --baseline .secrets.baseline
	@$(BIN)/nbstripout --verify --extra-keys "metadata.papermill cell.metadata.papermill" notebooks/*.ipynb tests/notebooks/*.ipynb

server:  ## the team server in Docker: MLflow on 5009, an S3 store on 9000, its console on 9001
	@$(COMPOSE) up -d --build --wait --wait-timeout 300 || { $(COMPOSE) logs --tail 10; echo "error: the server did not start, the lines above say why; it needs a running Docker, 2 GB of free disk and the ports 5009, 9000 and 9001" >&2; exit 2; }
	@echo "MLflow: http://127.0.0.1:5009   S3: http://127.0.0.1:9000   console: http://127.0.0.1:9001   now: .venv/bin/fashion-gan doctor"

server-down:  ## stop the team server; what it holds stays in its volumes
	@$(COMPOSE) down

server-backup:  ## save what the team server holds into a new folder (TO=backups/monday)
	@COMPOSE="$(COMPOSE)" sh docker/backup.sh save "$(TO)" && echo "saved in $(TO)"

server-restore:  ## bring back what server-backup saved, over what is there (FROM=backups/monday)
	@COMPOSE="$(COMPOSE)" sh docker/backup.sh restore "$(FROM)" && echo "restored from $(FROM)"

server-upgrade:  ## after a change of the pinned MLflow version: build it, bring the database to its form, start (back up first)
	@$(COMPOSE) build && $(COMPOSE) stop mlflow && $(COMPOSE) run --rm mlflow sh /app/start.sh upgrade && $(COMPOSE) up -d --wait

server-pin:  ## write the digests of the images that run now into .env.local, which then counts, whatever their tags come to mean
	@sh docker/pin.sh

server-env:  ## write .env.local with random passwords for the team server
	@$(PYTHON) scripts/server_env.py

showcase: data  ## train the runs of README's table (hours), compare them, make reports/showcase again from the best
	@$(BIN)/python scripts/showcase.py --all

lock:  ## write the lock files again (needs uv)
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock" -o requirements.lock
	uv pip compile docker/mlflow/requirements.in --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock" -o docker/mlflow/requirements.lock

clean:  ## remove the environment and caches (runs and data stay)
	rm -rf .venv .pytest_cache .ruff_cache build *.egg-info
