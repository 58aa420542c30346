# make demo   a small real collection: build, measure, one search taken apart
# make check-fast   style, types and the tests that need no torch, no server and no other process, in about a minute
# make test   the whole check: style, types, tests, against the installed wheel
# make test-blas   the tests of scores on other BLAS kernels (part of make test)
# make sanitize   the tests of the kernels with ASan and UBSan (part of make test)
# make fuzz   the properties of the tests on new examples, ROUNDS times (part of no check: what it finds becomes a test)
# make torture   every step of a writer, flipped bits, crash states, SIGKILLs (STATES, ROUNDS); benchmarks/results/
# make soak MINUTES=30   a server under all its operations at once; make fuzz-files SECONDS=3600   coverage-guided fuzzing of readers
# make dev    an editable install for working on plait (then: .venv/bin/pytest)
# make docs   the site of docs/ into build/site, strictly; make reference   its generated pages anew
# make report   the pages of docs/measurements that are made from benchmarks/results/
# make results COLLECTIONS=folder   docs/measurements/results.md anew
# make bench  the benchmark of a living collection
# make test-gpu   the tests that need a CUDA device; make bench-gpu   the kernels beside the memory roofline
# make proto  service/wire anew from proto/ (the tools are pinned; tests/service/messages/test_proto.py compares)

PYTHON ?= python3
BIN := .venv/bin
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

NATIVE := $(wildcard index/native/*)
SOURCES := pyproject.toml constraints.txt $(NATIVE) $(wildcard plait/* device/*.py eval/*.py $(foreach room,index retrieval service,$(room)/*.py $(room)/*/*))
EVERYTHING := .[demo,encoders,faiss,eval,service,tracing]

KERNEL_TESTS := tests/index/kernels $(addprefix tests/index/, $(addsuffix .py, codecs/test_axes codecs/test_codecs codecs/test_pq4 \
	codecs/test_residual coil/test_coil_lists late/test_lists sparse/test_postings sparse/test_sparse_maxsim))
SCORE_TESTS := tests/index/late/test_lists.py tests/index/late/test_search.py tests/index/codecs/test_precision.py \
	tests/retrieval/reducers/test_pooling.py

# Tests sync many small files: where memory has room for these (4 GiB free), no test waits for a disk.
SCRATCH := $(shell df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 && $$4 > 4000000 {print "TMPDIR=/dev/shm"}')
PYTEST := $(SCRATCH) PYTHONSAFEPATH=1 $(BIN)/pytest
# Many tests wait for a server or a deadline: two for each core keep the cores at work.
WORKERS ?= $(shell echo $$((2 * $$(nproc))))

.PHONY: demo test suite check-fast types-fast tests-fast test-blas test-gpu sanitize lint dev docs reference report fuzz \
	torture soak fuzz-files results bench bench-gpu proto clean

demo: .venv/demo
	@test -f build/demo/catalog.db || $(BIN)/plait build examples/xquad-en build/demo --pool 2
	@$(BIN)/plait eval examples/xquad-en --collection build/demo
	@$(BIN)/plait search build/demo "Who won the battle against the Mongols?" -k 3 --explain

test: .venv/wheel
	@$(MAKE) --no-print-directory --keep-going --output-sync=target -j4 suite lint sanitize test-blas

suite: .venv/wheel
	$(PYTEST) -n $(WORKERS) --dist worksteal

# On the editable install, so that an edit of Python needs no build.
check-fast: .venv/editable
	@$(MAKE) --no-print-directory --keep-going --output-sync=target -j2 types-fast tests-fast

types-fast:
	@$(BIN)/ruff format --check
	@$(BIN)/ruff check
	@$(BIN)/pyright --project pyright.fast.json

tests-fast:
	@PYTHONPATH=tests/support $(PYTEST) -q -r fE -p fast

# The tests of scores again, on BLAS kernels that are not this machine's own (or not those that OPENBLAS_CORETYPE names already).
test-blas: .venv/wheel
	OPENBLAS_CORETYPE=$$($(BIN)/python -P -c "import numpy; from threadpoolctl import threadpool_info; \
		from plait.index.kernels.vectors import simd_levels; own = str(threadpool_info()); \
		print('Haswell' if 'avx2' in simd_levels() and 'Haswell' not in own else 'Prescott')") \
	$(PYTEST) -q $(SCORE_TESTS)

ROUNDS ?= 5
fuzz: .venv/wheel
	for round in $$(seq $(ROUNDS)); do \
		PLAIT_HYPOTHESIS=fuzz PYTHONSAFEPATH=1 $(BIN)/pytest -q -n auto --dist worksteal -m "hypothesis and not gpu" || exit 1; done

STATES ?= 20000
TORTURE := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 PYTHONSAFEPATH=1 PYTHONPATH=tests:tests/support $(BIN)/python -m
torture: .venv/wheel
	PLAIT_CRASH_ROUNDS=100 PLAIT_FLIPS=3000 PYTHONSAFEPATH=1 $(BIN)/pytest -q -n auto --dist worksteal \
		tests/index/disk/test_crash.py tests/index/disk/test_flips.py tests/index/catalog/test_catalog_pages.py
	$(TORTURE) torture --states $(STATES) --rounds $(if $(filter file,$(origin ROUNDS)),10000,$(ROUNDS)) --results benchmarks/results

MINUTES ?= 30
soak: .venv/wheel
	$(TORTURE) torture.soak --minutes $(MINUTES) --results benchmarks/results

SECONDS ?= 3600
fuzz-files: .venv/wheel
	$(BIN)/pip install --quiet atheris
	$(TORTURE) torture.fuzz --seconds $(SECONDS)

# The tests of the kernels on a build that stops at the first bad access or undefined behaviour.
sanitize: build/sanitized
	LD_PRELOAD="$$(g++ -print-file-name=libasan.so) $$(g++ -print-file-name=libstdc++.so)" ASAN_OPTIONS=detect_leaks=0 \
	PYTHONPATH=build/sanitized $(PYTEST) -q -p no:cacheprovider $(KERNEL_TESTS)

build/sanitized: $(NATIVE) $(wildcard index/*.py index/*/*.py) | .venv/wheel
	@rm -rf $@
	$(BIN)/pip install --quiet --no-deps --target $@ -C cmake.define.PLAIT_SANITIZE=ON -C install.strip=false \
		-C build-dir=build/sanitize-objects .
	@touch $@

lint: .venv/wheel
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/codespell
	$(BIN)/pyright

dev: .venv/editable

# Nothing is fetched: fonts and scripts are those of the theme.
docs: .venv/wheel
	$(BIN)/python -P docs/generate --check
	$(BIN)/python -P benchmarks/report.py --check
	$(BIN)/zensical build --strict --clean

reference: .venv/wheel
	$(BIN)/python -P docs/generate

report: .venv/wheel
	$(BIN)/python -P benchmarks/report.py

results: .venv/wheel
	$(BIN)/python benchmarks/results.py $(COLLECTIONS) --cache build/cache

bench: .venv/wheel
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/live.py

# Where torch is built for the CPU or there is no device, both say so and end well.
test-gpu: .venv/wheel
	TRITON_INTERPRET=0 PYTHONSAFEPATH=1 $(BIN)/pytest -m gpu

bench-gpu: .venv/wheel
	TRITON_INTERPRET=0 $(BIN)/python benchmarks/gpu.py

proto:
	$(BIN)/python proto/generate.py service/wire

.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "plait needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv .venv || { echo "Python lacks venv: apt-get install python3-venv python3-dev"; rm -rf .venv; exit 1; }
	$(BIN)/python -m pip install --quiet --upgrade pip

# The demo needs neither torch nor FAISS. A full install serves it as well.
.venv/demo: $(SOURCES) | .venv/bin/pip
	@test -f .venv/editable || $(BIN)/pip install --quiet '.[demo,eval]'
	@touch $@

.venv/wheel: $(SOURCES) | .venv/bin/pip
	$(BIN)/pip install --quiet --group dev '$(EVERYTHING)'
	@rm -f .venv/editable
	@touch $@ .venv/demo

.venv/editable: pyproject.toml constraints.txt $(NATIVE) | .venv/bin/pip
	$(BIN)/pip install --quiet --group dev --editable '$(EVERYTHING)'
	@rm -f .venv/wheel
	@touch $@ .venv/demo

clean:
	rm -rf .venv build dist
