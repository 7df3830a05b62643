"""Every exception that burnish raises on purpose.

    BurnishError
    ├── UsageError              a wrong option or argument; the command line exits with 2
    ├── InputError              input that can not be read as a whole (one bad row is not an error)
    ├── OutputError             the output folder can not be used or written
    │   └── SettingsChanged     the folder holds a run with other settings
    ├── RefinerError            a refiner can not be found, loaded or run
    ├── HubError                the Hugging Face hub can not be reached, or refuses
    ├── MissingExtra            an optional dependency is not installed
    └── WorkerDied              a worker process ended before its shard was done

Faults inside a program or a document are never exceptions: they are `Issue` values in the outcome,
or rows in `rejected/`.
"""

from __future__ import annotations


class BurnishError(Exception):
    """Base of all errors; the message says what is wrong and how to mend it."""


class UsageError(BurnishError):
    """A wrong option or argument."""


class InputError(BurnishError):
    """Input that can not be read as a whole."""


class OutputError(BurnishError):
    """The output folder can not be used or written."""


class SettingsChanged(OutputError):
    """The output folder holds a run with other settings; `differences` names them."""

    def __init__(self, message: str, differences: dict[str, tuple[object, object]]) -> None:
        super().__init__(message)
        self.differences = differences


class RefinerError(BurnishError):
    """A refiner can not be found, loaded or run."""


class HubError(BurnishError):
    """The Hugging Face hub can not be reached, or refuses."""


class WorkerDied(BurnishError):
    """A worker process ended before its shard was done."""


class MissingExtra(BurnishError):
    """An optional dependency is not installed."""

    def __init__(self, what: str, package: str, extra: str) -> None:
        super().__init__(f"{what} needs {package}. Install it with: pip install 'burnish[{extra}]'")
        self.package = package
        self.extra = extra
