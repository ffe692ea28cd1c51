"""What can go wrong, by whose doing. The exit codes of the lab follow from it."""


class HarnessError(Exception):
    """The harness could not do its job. Never the fault of the program under test; exit code 2."""


class BuildFailed(Exception):
    """A program does not compile. A verdict against the program; exit code 1. The message is the compiler's."""
