"""What the exit codes of `vision` mean; docs/cli.md promises them."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """0 all answered."""

    ANSWERED = 0
    SOME_FAILED = 1
    USAGE = 2
    NO_GATEWAY = 3
    NOT_ALLOWED = 4
    INTERRUPTED = 130
