"""A few of the kills that `benchmarks/annotate_kills.py` does by the dozen."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("httpx", reason="a teacher behind an address needs the extra annotate")
pytest.importorskip("py3langid", reason="recognising languages needs the extra annotate")

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "annotate_kills.py"


@pytest.fixture(scope="module")
def annotate_kills() -> ModuleType:
    spec = importlib.util.spec_from_file_location("annotate_kills", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclasses look for themselves
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_kills_lose_no_answer(annotate_kills: ModuleType, tmp_path: Path) -> None:
    counts = annotate_kills.survive(kills=8, seed=1, folder=tmp_path, documents=80)
    assert (counts.kills, counts.finished > 0) == (8, True)
    assert counts.clean, counts.told()


@pytest.mark.slow
def test_ctrl_c_waits_for_the_answers_under_way(annotate_kills: ModuleType, tmp_path: Path) -> None:
    stopped = annotate_kills.interrupt(tmp_path, documents=60)
    assert stopped.clean, stopped.told()
