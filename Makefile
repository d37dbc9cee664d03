# `make demo` and `make test` do all their own set-up in .venv.
VENV := .venv
BIN := $(VENV)/bin
export PYTHONUTF8 := 1

.PHONY: demo test lint types layers tests format clean

demo: $(VENV)/.demo
	$(BIN)/counterpoint demo --out out

test: $(VENV)/.dev
	$(MAKE) lint types layers tests

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.dev
	$(BIN)/basedpyright

layers: $(VENV)/.dev
	$(BIN)/lint-imports

tests: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

format: $(VENV)/.dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

$(VENV)/.demo: pyproject.toml constraints.txt tools/install.sh
	tools/install.sh $(VENV) demo
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt tools/install.sh
	tools/install.sh $(VENV) dev
	touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) out
