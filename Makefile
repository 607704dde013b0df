# The words of this project: make demo, make test, make check, make report, make messages, make lock,
# make clean.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Half of the cores for test processes would leave the servers that they start waiting.
WORKERS ?= 2

.PHONY: help demo test test-heavy faults faults-shipped faults-long faults-large soak broken-images mutants hostile-images \
	hostile-archives fuzz lint types check report screenshots simulate-autopilot review-cost \
	messages review-latency review-load rows-under-load lock audit clean
.DEFAULT_GOAL := help

help:
	@echo "make demo     tag the sample catalogue on this machine, nothing to install before"
	@echo "make test     all tests, with real Redis and PostgreSQL from wheels"
	@echo "make test-heavy   the rest of them: whole trainings, and the shipped models measured anew"
	@echo "make faults   500 faults of every kind, and ten promises checked (about ten minutes)"
	@echo "make faults-shipped   the same with the patience that users get (a quarter of an hour)"
	@echo "make faults-long    10,000 of them (hours; goes on where it was cut off)"
	@echo "make faults-large   kills and poisoned pictures among 10,000"
	@echo "make soak     steady work for MINUTES: does anything grow?"
	@echo "make broken-images  what a tenth of broken pictures costs the others"
	@echo "make mutants  take guards out of the code and see their tests fail"
	@echo "make hostile-images   20,000 broken and malicious pictures, thrice"
	@echo "make hostile-archives   archives and manifests made to harm, at full size (half an hour)"
	@echo "make fuzz     pictures and manifests that coverage leads to (SECONDS=60 for each)"
	@echo "make lint     ruff: format and lint"
	@echo "make types    mypy, strict"
	@echo "make check    lint, types and test"
	@echo "make report   measure the shipped models anew, as pages in reports/"
	@echo "make screenshots   every page as a picture, in docs/img/ (needs Chromium)"
	@echo "make simulate-autopilot   what the audit costs and what it catches"
	@echo "make review-cost   what a catalogue costs in verdicts (twenty minutes)"
	@echo "make review-latency   how long a reviewer waits, at a million products"
	@echo "make review-load   twenty reviewers and an upload at once: is anything lost?"
	@echo "make rows-under-load   two million products: plans, times, and deliveries (an hour)"
	@echo "make messages bring what the pages say into the catalogues of translations"
	@echo "make lock     resolve the dependencies of pyproject.toml anew"
	@echo "make audit    look up known holes of what is locked (needs PyPI)"
	@echo "make clean    remove the environment and the demo's data"

# The stamps say which lock file the environment was made from; a changed lock makes it anew.
$(VENV)/runtime.stamp: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; ok = (3, 11) <= v < (3, 14); \
		sys.exit(None if ok else f"Atelier needs Python 3.11 to 3.13, {sys.executable} is " \
		f"{v.major}.{v.minor}; try: make PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (TensorFlow is big: a minute or two the first time)"
	@$(PIP) install --quiet --require-hashes --requirement requirements.lock
	@$(PIP) install --quiet --no-deps --editable .
	@touch $@

$(VENV)/dev.stamp: requirements-dev.lock $(VENV)/runtime.stamp
	@$(PIP) install --quiet --require-hashes --requirement requirements-dev.lock
	@touch $@

demo: $(VENV)/runtime.stamp
	@$(BIN)/python -m worker.demo

test: $(VENV)/dev.stamp
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

# What trains whole models, or measures the shipped ones anew.
test-heavy: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -m heavy --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

# Five hundred faults of every kind on both kinds of installation; about ten minutes.
INJECTIONS ?= 504
WORLDS ?= 4
faults: $(VENV)/dev.stamp
	@$(BIN)/python -W ignore -m tests.faults --injections $(INJECTIONS) --worlds $(WORLDS) \
		--least 500 --p99 15

# The same with the patience that users get: a silent worker is given up after ten seconds, not after
# one and a half, and a stuck one after thirty.
faults-shipped: $(VENV)/dev.stamp
	@$(BIN)/python -W ignore -m tests.faults --injections $(INJECTIONS) --worlds 6 --shipped \
		--least 500 --p99 15

# Ten thousand of them; what stands in the log is not done again, so it may be cut off and go on.
FAULTS_LOG ?= runs/faults-long.jsonl
faults-long: $(VENV)/dev.stamp
	@mkdir -p $(dir $(FAULTS_LOG))
	@$(BIN)/python -W ignore -m tests.faults --injections 10500 --worlds $(WORLDS) \
		--keras-worlds 25 --keras-injections 4 --seed 1000 --log $(FAULTS_LOG) \
		--least 10000 --products 100000 --p99 15

# kill -9 during 10,000 images, three pictures among 10,000 that end every worker, two acts at every
# two of their boundaries, all of Fashion-MNIST's test images through real processes, and every
# bundle's figures.
faults-large: $(VENV)/dev.stamp
	ATELIER_KILL_IMAGES=10000 ATELIER_KILLS=10 ATELIER_POISON_IMAGES=10000 \
		ATELIER_POISON_KILLS=5 ATELIER_NETWORK_ROUNDS=12 ATELIER_TEST_IMAGES=10000 ATELIER_MEASURE_ALL=1 \
		ATELIER_ALL_CROSSINGS=1 \
		$(BIN)/python -m pytest tests/faults tests/e2e/test_real_catalogues.py \
		tests/integration/test_crossed_acts.py tests/integration/test_report.py \
		tests/unit/test_training_shipped_bundle.py

# Does anything grow under steady work? MINUTES=30 for the plots in the docs; KIND=keras has the real
# network.
KIND ?= servers
soak: $(VENV)/dev.stamp
	@$(BIN)/python -W ignore -m tests.faults.soak --minutes $(MINUTES) --kind $(KIND) \
		--plot reports/soak-$(KIND).png

# What a tenth of broken pictures costs the others, through a real worker: KIND=embedded, or with the
# real network keras and keras-servers.
broken-images: $(VENV)/dev.stamp
	@$(BIN)/python -W ignore -m tests.benchmarks.broken_images --kind $(KIND)

# Guards are taken out of the code one by one; the test named for each must fail.
mutants: $(VENV)/dev.stamp
	@$(BIN)/python -m tests.mutants

# Every case into SQLite and into PostgreSQL, as are 200,000 pictures in one zip and a million rows in
# one manifest.
hostile-archives: $(VENV)/dev.stamp
	ATELIER_HOSTILE=1 $(BIN)/python -m pytest --timeout 3600 -rA --no-header -q \
		tests/integration/test_hostile_archives.py tests/integration/test_hostile_manifests.py \
		tests/integration/test_hostile_rows.py tests/integration/test_hostile_inbox.py

# Mutants of drawn pictures through the decoder pool, held against plain Pillow (goes on where it was);
# then through real workers, on both kinds of installation.
SEEDS ?= 0:20000

hostile-images: $(VENV)/dev.stamp
	@$(BIN)/python -m tests.hostile.images --seeds $(SEEDS)
	@for kind in embedded servers; do \
		$(BIN)/python -W ignore -m tests.hostile.workers --kind $$kind --seeds $(SEEDS) || exit; \
	done

# Each target for SECONDS; what it finds worth keeping stays in runs/fuzz, merged down to the fewest
# inputs, and so does what fails.
SECONDS ?= 60

fuzz: $(VENV)/dev.stamp
	@$(PIP) install --quiet --editable '.[fuzz]'
	@for target in images manifests; do \
		$(BIN)/python -m tests.fuzz.engine $$target --seconds $(SECONDS) || exit; \
	done

lint: $(VENV)/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/dev.stamp
	$(BIN)/mypy

check: lint types test

# Reads the data from ATELIER_DATA_DIR; without it, the data is downloaded, all but the shop photos.
SHOP_PHOTOS := $(if $(wildcard $(ATELIER_DATA_DIR)/studio-catalog),\
	--shop-photos model_training/recipes/fashion-mnist.json)

report: $(VENV)/dev.stamp
	@for bundle in model_training/bundles/*; do \
		$(BIN)/python -m worker report "$$bundle" --out "reports/$$(basename "$$bundle")" \
			$(SHOP_PHOTOS) || exit; \
	done

# Every page in both themes, on a desktop and on a phone, over the sample catalogue.
screenshots: $(VENV)/dev.stamp
	@$(BIN)/python -m tests.browser.screenshots docs/img

# What the audit costs and what it catches; less than a minute.
simulate-autopilot: $(VENV)/dev.stamp
	@$(BIN)/python -m tests.simulations.autopilot

# What a catalogue costs in verdicts; PART=test reads the test labels: once per released model.
PART ?= holdout

review-cost: $(VENV)/dev.stamp
	@$(BIN)/python -m tests.simulations.review_cost --part $(PART)

# Line numbers would change with every line above a text, and merge badly.
LOCALE := tagging/web/locale
messages: $(VENV)/dev.stamp
	$(BIN)/pybabel --quiet extract --mapping pyproject.toml --keyword t --keyword tn:1,2 \
		--add-location file --sort-output --width 100 --omit-header \
		--output $(LOCALE)/atelier.pot tagging/web
	$(BIN)/pybabel --quiet update --domain atelier --input-file $(LOCALE)/atelier.pot \
		--output-dir $(LOCALE) --width 100 --no-fuzzy-matching --ignore-obsolete \
		--ignore-pot-creation-date

# uv only resolves; what it writes is installed by pip.
lock: $(VENV)/runtime.stamp
	$(PIP) install --quiet uv
	$(BIN)/uv pip compile --quiet pyproject.toml --extra cpu \
		--universal --python-version 3.11 --generate-hashes --no-header -o requirements.lock
	$(BIN)/uv pip compile --quiet pyproject.toml --extra cpu --extra dev -c requirements.lock \
		--universal --python-version 3.11 --generate-hashes --no-header -o requirements-dev.lock
	$(BIN)/uv pip compile --quiet pyproject.toml --extra gpu -c requirements.lock \
		--universal --python-version 3.11 --generate-hashes --no-header -o requirements-gpu.lock

# Known holes of everything that is locked, looked up at PyPI. Strict: what cannot be looked up is no
# good news. Its own environment, so that it is no part of what it audits.
AUDIT := $(VENV)/audit
audit: requirements.lock requirements-dev.lock requirements-gpu.lock
	@test -x $(AUDIT)/bin/pip-audit || { $(PYTHON) -m venv $(AUDIT) \
		&& $(AUDIT)/bin/pip install --quiet pip-audit; }
	@for lock in $^; do \
		echo "$$lock"; \
		$(AUDIT)/bin/pip-audit --strict --disable-pip --require-hashes --requirement $$lock || exit; \
	done

# How long a reviewer waits at a million products: PostgreSQL, `atelier web`, a headless Chromium.
review-latency: $(VENV)/dev.stamp
	@$(BIN)/python -m tests.benchmarks.review_latency

# Twenty reviewers and a running upload at once: is anything lost, doubled or shown to two people?
MINUTES ?= 2
review-load: $(VENV)/dev.stamp
	@$(BIN)/python -m tests.benchmarks.review_load --minutes $(MINUTES)

# Two million products: what each query reads and how long it takes, and 100,000 more delivered.
rows-under-load: $(VENV)/dev.stamp
	@$(BIN)/python -m tests.benchmarks.rows_under_load

clean:
	rm -rf $(VENV) demo-data
