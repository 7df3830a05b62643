"""What importing loads: the language is pure, and the package is light until it is used."""

from __future__ import annotations

import json
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import burnish

SOURCE = Path(burnish.__file__).parent
HEAVY = {"numpy", "onnxruntime", "openvino", "pyarrow", "ray", "torch", "transformers", "vllm"}


def modules_under(*packages: str) -> list[str]:
    found = []
    for package in packages:
        folder = SOURCE / package
        found.append(f"burnish.{package}")
        if folder.is_dir():
            found += [f"burnish.{package}.{m.name}" for m in pkgutil.iter_modules([str(folder)])]
    return found


PURE = modules_under(
    "errors", "schema", "program", "dialects", "chunking", "metrics", "spec", "refiners.base"
)


def loaded_after(statement: str) -> set[str]:
    """Top-level names of the modules that a fresh interpreter loads for the statement.

    What the interpreter loads by itself (site customisations, an editable install's finder) is
    subtracted.
    """
    code = (
        "import json, sys\n"
        "before = set(sys.modules)\n"
        f"{statement}\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


@pytest.mark.parametrize("module", PURE)
def test_the_language_needs_the_standard_library_only(module: str) -> None:
    allowed = sys.stdlib_module_names | {"burnish"}
    assert loaded_after(f"import {module}") <= allowed


def test_every_public_name_of_the_language_needs_the_standard_library_only() -> None:
    allowed = sys.stdlib_module_names | {"burnish"}
    names = ", ".join(n for n in burnish.__all__ if not n.startswith("_"))
    assert loaded_after(f"from burnish import {names}") <= allowed


def test_executing_a_program_needs_the_standard_library_only() -> None:
    call = "import burnish; burnish.execute('a\\nb', 'remove_lines(0, 0)')"
    assert loaded_after(call) <= sys.stdlib_module_names | {"burnish"}


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = loaded_after("import burnish")
    assert not loaded & HEAVY
    assert loaded <= sys.stdlib_module_names | {"burnish"}


def test_the_help_of_the_command_line_loads_nothing_heavy() -> None:
    assert not loaded_after("import burnish.cli") & HEAVY


def test_what_runs_a_refiner_reports_to_nobody(tmp_path: Path) -> None:
    """ONNX Runtime would leave a device's id, and what it wants to send, in the user's folder."""
    quiet = {"CI", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS"}
    shown = {name: value for name, value in os.environ.items() if name not in quiet}
    code = (
        "from burnish import refine\n"
        "list(refine([{'text': 'A text.'}]))\n"
        "import os; print(os.environ['ORT_DISABLE_TELEMETRY'], os.environ['VLLM_NO_USAGE_STATS'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**shown, "HOME": str(tmp_path), "XDG_CACHE_HOME": "", "VLLM_NO_USAGE_STATS": "0"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "1 0\n"
    assert list(tmp_path.rglob("*")) == []
