# The same commands on your machine and in CI (.ci/run). PYTHON names the interpreter of an
# environment that holds `pip install -e '.[dev,train,train-causal,lora,transformers,openvino,onnx,onnx-export,openai,hub,annotate,serve]'`.

PYTHON ?= python
SOURCES := src tests examples benchmarks

.PHONY: check test test-engines quick format bench

check: ## style, types, import rules
	$(PYTHON) -m ruff check $(SOURCES)
	$(PYTHON) -m ruff format --check $(SOURCES)
	$(PYTHON) -m mypy
	$(PYTHON) -c "from importlinter.cli import lint_imports_command as run; run()"

test: ## all tests but those of heavy engines
	$(PYTHON) -m pytest

test-engines: ## the engines against each other and real servers: needs vLLM, OpenVINO, minutes
	$(PYTHON) -m pytest -m "engines or slow" tests/test_engine*.py

quick: ## the tests that take seconds
	$(PYTHON) -m pytest -m "not slow and not engines"

format: ## rewrite the files in the one style
	$(PYTHON) -m ruff check --fix $(SOURCES)
	$(PYTHON) -m ruff format $(SOURCES)

bench: ## throughput beside datatrove's filters: make bench DATA=folder PEER=python-with-datatrove
	$(PYTHON) benchmarks/throughput.py --data "$(DATA)" --peer-python "$(PEER)"
