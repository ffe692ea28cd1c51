"""What can go wrong, by whose doing. The exit codes of the lab follow from it."""

from collections.abc import Iterable
from pathlib import Path


class HarnessError(Exception):
    """The harness could not do its job. Never the fault of the program under test; exit code 2."""


class Rejected(AssertionError):
    """The program under test did not do what its contract says."""

    def __init__(self, rows: list[tuple[str, str]], errata: Iterable[str], trace: Path | None = None) -> None:
        self.rows = rows  # what the verdict says, each with its heading
        self.trace = trace  # of the run that it is about
        self.errata = tuple(errata)  # the defects it points to
        super().__init__("\n" + "\n".join(f"  {name:<10} {text}" for name, text in rows))


class BuildFailed(Exception):
    """A program does not compile. A verdict against the program; exit code 1. The message is the compiler's."""
