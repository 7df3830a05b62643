"""Things that write programs. Those that need a library import it in their own file."""

from __future__ import annotations

from burnish.refiners.engines.choice import EngineChoice
from burnish.refiners.loading import (
    identity,
    is_language_model,
    load_refiner,
    parameters_of,
    refiner_card,
    refiner_names,
    stages_of,
)

__all__ = [
    "EngineChoice",
    "identity",
    "is_language_model",
    "load_refiner",
    "parameters_of",
    "refiner_card",
    "refiner_names",
    "stages_of",
]
