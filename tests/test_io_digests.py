"""A file's SHA-256."""

from __future__ import annotations

import hashlib
from pathlib import Path

from burnish.io.digests import sha256_of


def test_a_file_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"\x00abc" * 1_000_000)
    assert sha256_of(path) == hashlib.sha256(path.read_bytes()).hexdigest()
