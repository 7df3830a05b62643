"""Locks that keep processes apart, held for the life of a process at most."""

from __future__ import annotations

import errno
import fcntl
import os
from dataclasses import dataclass
from enum import Enum
from pathlib import Path


class LockState(Enum):
    HELD = "held"
    BUSY = "busy"
    UNKNOWN = "unknown"
    """The file system has no locks: another process may work on the same, or none."""


@dataclass(frozen=True, slots=True)
class Lock:
    """What came of taking a lock; to be released whatever that was."""

    descriptor: int
    state: LockState

    def release(self) -> None:
        os.close(self.descriptor)


def take_lock(path: Path, wait: bool = False) -> Lock:
    """Tries to take the lock on a file, which is made, or waits for it.

    Raises OSError where the file can not be made or written.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        busy = error.errno in (errno.EWOULDBLOCK, errno.EACCES)
        return Lock(descriptor, LockState.BUSY if busy else LockState.UNKNOWN)
    return Lock(descriptor, LockState.HELD)
