# Everything that people and CI run. Only Rust, a C/C++ compiler, make and Python 3.11 are assumed.

CARGO ?= cargo
PYTHON ?= python3
FEATURES := --features kirsh-core/cli,kirsh-core/sim

.PHONY: all test lint test-rust clean

all:
	$(CARGO) build --release -p kirsh-core --features cli

## test: sets up what the tests need, then runs all of them.
test: lint test-rust

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets $(FEATURES) -- -D warnings

test-rust:
	$(CARGO) test --workspace $(FEATURES)

clean:
	$(CARGO) clean
