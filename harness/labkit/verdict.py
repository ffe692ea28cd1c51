"""A verdict against a program, told so that a student can act on it."""

from collections.abc import Iterable
from typing import NoReturn

from labkit.contract import call_errors
from labkit.errata import catalogue
from labkit.errors import Rejected
from labkit.program import Run

MOST_LINES = 40


def reject(run: Run, *, expected: str, came: str, errata: Iterable[str] = (), asked: str = "") -> NoReturn:
    """Raises Rejected, with what was asked, expected and came, why it matters, and all the program printed."""
    rows = [("asked", f"{run.command}{'  (' + asked + ')' if asked else ''}"), ("expected", expected), ("came", came)]
    if run.ended_because:
        rows.append(("ended", f"by the harness: {run.ended_because}"))
    else:
        rows.append(("exit code", str(run.exit_code)))
    errata = tuple(dict.fromkeys(errata))
    rows += reasons(errata)
    rows += _shown("stdout", run.lines) + _shown("stderr", run.error_lines)
    raise Rejected(rows, errata, run.trace)


def reasons(errata: Iterable[str]) -> list[tuple[str, str]]:
    """Why it matters, and the right form, for each of these."""
    rows = []
    for name in errata:
        entry = catalogue()[name]
        rows.append(("why", f"{name}: {entry.why}{' (' + entry.source + ')' if entry.source else ''}"))
        rows.append(("right", entry.right))
    return rows


def reject_unless(
    holds: bool, run: Run, *, expected: str, came: str, errata: Iterable[str] = (), asked: str = ""
) -> None:
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


def expect_exit_code(run: Run, code: int, errata: Iterable[str] = ("E12",)) -> None:
    came = f"exit code {run.exit_code}" if run.exit_code is not None else "it did not end by itself"
    reject_unless(run.exit_code == code, run, expected=f"exit code {code}", came=came, errata=errata)


def expect_usage(run: Run) -> None:
    """Wrong usage: the usage on stderr, nothing on stdout, exit code 2."""
    expect_exit_code(run, 2)
    holds = bool(run.stderr.strip()) and not run.stdout
    reject_unless(holds, run, expected="the usage on stderr, nothing on stdout", came="see below", errata=("E12",))


def expect_call_error(run: Run, call: str, errata: Iterable[str], codes: Iterable[int] = ()) -> None:
    """A call that failed is named on stderr, with one of these codes if any are given, and the exit code is 1."""
    named = [error for error in call_errors(run) if error.call == call and (not codes or error.code in codes)]
    wanted = f"on stderr: error : {call} : {' or '.join(map(str, codes)) or 'CODE'} : ..."
    reject_unless(bool(named), run, expected=wanted, came=run.stderr.strip() or "nothing", errata=errata)
    expect_exit_code(run, 1, errata)
