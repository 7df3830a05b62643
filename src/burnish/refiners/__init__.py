"""Things that write programs, found by name or by folder."""

from __future__ import annotations

from burnish.refiners.loading import identity, load_refiner, refiner_names

__all__ = ["identity", "load_refiner", "refiner_names"]
