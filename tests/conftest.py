"""Small language models that several files test with; made once a session."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Threads that wait for each other by turning in circles make small models slow on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest.register_assert_rewrite("random_models")  # it compares engines with transformers


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of Llama's shape that writes ProX programs, with a card for each dialect."""
    return _model(tmp_path_factory.mktemp("llama"), "llama")


@pytest.fixture(scope="session")
def qwen3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of Qwen3's shape that writes UltraX, ReScraper and RefineX programs."""
    return _model(tmp_path_factory.mktemp("qwen3"), "qwen3")


def _model(folder: Path, family: str) -> Path:
    for library in ("torch", "transformers", "llguidance"):
        pytest.importorskip(library, reason=f"a language model needs {library}")
    from small_models import make_model
    from small_pages import DIALECTS, write_card

    make_model(folder, family)
    for dialect in DIALECTS[family]:
        write_card(folder, family, dialect)
    return folder
