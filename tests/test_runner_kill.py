"""A few of the kills that `benchmarks/kill_test.py` does by the hundred."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "kill_test.py"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_kills_leave_no_trace(tmp_path: Path):
    spec = importlib.util.spec_from_file_location("kill_test", SCRIPT)
    assert spec
    assert spec.loader
    kill_test = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(kill_test)
    hits, compared = kill_test.survive(kills=15, seed=1, folder=tmp_path)
    assert hits == 15
    assert compared >= 1
