# swirldb: `make demo` and `make test` do all set-up themselves; `make help` lists the rest.
#
# Every target that builds uses cargo's dev profile (Cargo.toml), so that RocksDB, candle and
# DataFusion are compiled once; the first time takes about 20 minutes on two cores.
# CARGO_TARGET_DIR is honoured; without it cargo uses ./target.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# rustup's folder, for shells that do not have it on their path.
export PATH := $(PATH):$(HOME)/.cargo/bin

CARGO ?= cargo
PYTHON ?= python3
DEMO ?= demo
SCALE ?= 300k
CACHE := $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/swirldb
TOOLS := $(CACHE)/tools
CARGO_DENY_VERSION := 0.20.2
CARGO_DENY := $(TOOLS)/cargo-deny-$(CARGO_DENY_VERSION)/bin/cargo-deny

.PHONY: help setup build cuda demo test lint fmt model encoder bench bench-search bench-train \
	bench-cuda clean-demo clean-model

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Check for cargo, a C++ compiler and libclang; install what apt has
	@bash scripts/setup.sh

build: setup ## Build the program
	$(CARGO) build --locked

cuda: setup ## Build the program with CUDA; fetches the toolkit (700 MB) where CUDA_HOME is not set
	@bash scripts/cuda.sh

demo: setup ## A round of step-wise RL, from generating to evaluating, in two minutes
	$(CARGO) run --locked -- demo $(DEMO)

test: setup ## Run all tests
	$(CARGO) test --locked

lint: setup $(CARGO_DENY) ## Formatting, clippy, and the dependencies' bans, licences and sources
	@bash scripts/setup.sh rustfmt clippy
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets --locked -- -D warnings
	$(CARGO_DENY) --locked --log-level error check bans licenses sources

$(CARGO_DENY): | setup
	@echo "lint: building cargo-deny $(CARGO_DENY_VERSION) into $(TOOLS), once"
	$(CARGO) install --quiet --locked --debug --root $(TOOLS)/cargo-deny-$(CARGO_DENY_VERSION) \
		--target-dir $(TOOLS)/build cargo-deny@$(CARGO_DENY_VERSION)
	rm -rf $(TOOLS)/build

fmt: ## Format the code
	$(CARGO) fmt

model: ## Fetch SmolLM2-135M-Instruct (98 MB) into models/ and check it
	@$(PYTHON) scripts/model.py

encoder: ## Fetch all-MiniLM-L6-v2 (91 MB), which makes vectors of texts, into models/ and check it
	@$(PYTHON) scripts/encoder.py

bench: build ## Measure beside DuckDB, SQLite and LanceDB; SCALE=10m (benches/README.md)
	@SCALE="$(SCALE)" $(PYTHON) benches/run.py $(ARGS)

bench-search: build ## Measure search beside tantivy, bm25s, SQLite's FTS5 and LanceDB
	@$(PYTHON) benches/search.py $(ARGS)

bench-cuda: setup ## Test and measure training on an NVIDIA card, beside PyTorch where it is there
	@bash scripts/bench-cuda.sh

bench-train: build model ## Measure training and decoding beside PyTorch (5 GB of peers, once)
	@$(PYTHON) benches/train.py $(ARGS)

clean-demo: ## Remove what the demo wrote
	rm -rf $(DEMO)

clean-model: ## Remove the fetched models
	rm -rf models
