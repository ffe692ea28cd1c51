"""A verdict against a program, told so that a student can act on it."""

from collections.abc import Iterable

from labkit.errata import catalogue
from labkit.program import Run

MOST_LINES = 40


class Rejected(AssertionError):
    """The program under test did not do what its contract says."""


def reject(run: Run, *, expected: str, came: str, errata: Iterable[str] = (), asked: str = "") -> None:
    """Raises Rejected, with what was asked, expected and came, why it matters, and all the program printed."""
    rows = [("asked", f"{run.command}{'  (' + asked + ')' if asked else ''}"), ("expected", expected), ("came", came)]
    if run.ended_because:
        rows.append(("ended", f"by the harness: {run.ended_because}"))
    else:
        rows.append(("exit code", str(run.exit_code)))
    for name in errata:
        entry = catalogue()[name]
        rows.append(("why", f"{name}: {entry.why}{' (' + entry.source + ')' if entry.source else ''}"))
        rows.append(("right", entry.right))
    rows += _shown("stdout", run.lines) + _shown("stderr", run.error_lines)
    raise Rejected("\n" + "\n".join(f"  {name:<10} {text}" for name, text in rows))


def reject_unless(holds: bool, run: Run, *, expected: str, came: str, errata: Iterable[str] = (), asked: str = "") -> None:
    if not holds:
        reject(run, expected=expected, came=came, errata=errata, asked=asked)


def _shown(name: str, lines: list[str]) -> list[tuple[str, str]]:
    """A stream's lines, with what cannot be seen made visible, and long output cut in the middle."""
    if not lines:
        return [(name, "(nothing)")]
    if len(lines) > MOST_LINES:
        half = MOST_LINES // 2
        lines = [*lines[:half], f"... {len(lines) - 2 * half} lines more ...", *lines[-half:]]
    return [(name if i == 0 else "", f"| {_visible(line)}") for i, line in enumerate(lines)]


def _visible(line: str) -> str:
    shown = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in line[:300])
    return shown + (f" ... ({len(line)} characters)" if len(line) > 300 else "") + ("␠" if line.endswith(" ") else "")
