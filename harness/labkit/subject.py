"""The program under test: our own, one written differently, a student's, or a wrong one that must be rejected.

Checks name a program of the contract (`event_wait`); which executable stands behind the name is decided here, for the
length of one check. A graded executable has the probe in it, and every run of it leaves a trace, which is judged when
the check itself has found nothing wrong.
"""

import contextlib
import itertools
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from labkit import paths, runtime

# Names the file with the subjects of this run of pytest. Without it the checks are about our own plain programs.
SUBJECTS = "LAB_SUBJECTS"

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Subject:
    key: str  # unique; how verdicts call it
    program: str  # of the contract: event_wait ...
    executable: Path
    again: str = ""  # the command that grades it again
    again_takes_only: bool = True  # ... which can be asked for a single check by --only
    check: str = ""  # the only check that is wanted, by its function's name; empty: all
    case: str = ""  # ... and the only parametrized case of it


class Recording:
    """The runs of one check, each with its trace."""

    def __init__(self, subject: Subject, folder: Path) -> None:
        self.subject = subject
        self.mark = f"{_next_name()}."  # in front of those of its runs
        self.runs: list[RecordedRun] = []
        self._folder = folder

    def new_trace(self) -> Path:
        return self._folder / f"{_next_name()}.trace"

    def forget_runs(self) -> None:
        for run in self.runs:
            run.trace.unlink(missing_ok=True)
        self.runs.clear()


@dataclass
class RecordedRun:
    command: str
    trace: Path
    hang: bool = False  # it had to be ended
    judged: bool = True  # a check that has already looked at this trace by itself says False


def _next_name() -> str:
    """Unique on this machine."""
    return f"{os.getpid()}-{next(_numbers)}"


def next_mark() -> str:
    """For one more run of a program; runtime.RUN_MARK tells what it is for."""
    return f"{_current.mark if _current else ''}{_next_name()}."


_current: Recording | None = None


def current() -> Recording | None:
    """What the check that runs now is about; None: our own plain programs."""
    return _current


def forget(run: RecordedRun) -> None:
    """A run that never came about."""
    if _current is not None:
        _current.runs.remove(run)
    run.trace.unlink(missing_ok=True)


@contextlib.contextmanager
def under_test(subject: Subject) -> Iterator[Recording]:
    global _current
    folder = paths.BUILD / "traces"
    folder.mkdir(parents=True, exist_ok=True)
    recording = Recording(subject, folder)
    before, _current = _current, recording
    try:
        yield recording
    finally:
        _current = before
        if recording.runs:
            runtime.end_all_marked(recording.mark)
        recording.forget_runs()


def write_subjects(subjects: list[Subject], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = [asdict(subject) | {"executable": str(subject.executable)} for subject in subjects]
    file.write_text(json.dumps(rows, ensure_ascii=False, indent=1), encoding="utf-8")


def subjects_wanted() -> list[Subject] | None:
    """Those this run of pytest is about; None: our own plain programs."""
    name = os.environ.get(SUBJECTS)
    if not name:
        return None
    rows = json.loads(Path(name).read_text(encoding="utf-8"))
    return [Subject(**row | {"executable": Path(row["executable"])}) for row in rows]
