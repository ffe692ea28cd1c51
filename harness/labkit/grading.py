"""Runs the checks against subjects and keeps what each of them said."""

import contextlib
import io
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from labkit import paths, runtime
from labkit.errors import HarnessError
from labkit.stages import Stage
from labkit.subject import SUBJECTS, Subject, write_subjects

CHECKS = paths.HARNESS / "checks"


@dataclass
class CheckResult:
    """What one check said of one subject."""

    subject: str  # its key
    check: str  # the node's id
    title: str
    outcome: str  # passed, rejected, skipped, harness
    rows: list[tuple[str, str]] = field(default_factory=list)  # of a verdict; headings as in the terminal
    errata: list[str] = field(default_factory=list)
    message: str = ""  # why it was skipped; what the harness could not do
    seconds: float = 0.0
    numbers: dict[str, int] = field(default_factory=dict)  # what the check has counted


class Collector:
    """A plugin of pytest that keeps the reports; with xdist it sees those of all workers."""

    def __init__(self) -> None:
        self.results: list[CheckResult] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.passed:
            return
        result = CheckResult(
            getattr(report, "subject_key", ""), report.nodeid, report.location[2], "passed", seconds=report.duration
        )
        result.numbers = {name: value for name, value in report.user_properties if isinstance(value, int)}
        verdict = getattr(report, "verdict", None)
        if verdict is not None:
            result.outcome = "rejected"
            result.rows = [(heading, text) for heading, text in verdict["rows"]] + [("again", verdict["again"])]
            result.errata = verdict["errata"]
        elif report.skipped:
            result.outcome, result.message = "skipped", str(report.longrepr)
        elif report.failed:  # a fixture, or the check itself: never the program's doing
            result.outcome, result.message = "harness", str(report.longrepr)
        self.results.append(result)


def run_checks(subjects: list[Subject], words: list[str], *, quiet: bool = False) -> list[CheckResult]:
    """pytest over the checks of these subjects: what every check said.

    Raises HarnessError if pytest could not do its job, or was interrupted: what was not asked has not passed.
    """
    collector = Collector()
    file = paths.BUILD / "subjects" / f"{os.getpid()}.json"
    write_subjects(subjects, file)
    sys.path.insert(0, str(paths.HARNESS))
    os.environ |= {SUBJECTS: str(file), "LAB_BUILT": "1"}
    try:
        workers = ["-n", str((os.cpu_count() or 1) + 1)]  # each costs a start of Python; they seldom wait
        options = ["--rootdir", str(paths.ROOT), "-c", str(paths.ROOT / "pyproject.toml")]
        said = io.StringIO()
        with contextlib.ExitStack() as session, ThreadPoolExecutor(1) as aside:
            opened = aside.submit(
                session.enter_context, runtime.session()
            )  # while pytest starts; the workers wait for it
            with contextlib.redirect_stdout(said) if quiet else contextlib.nullcontext():
                code = int(pytest.main([*options, *workers, *words], plugins=[collector]))
            opened.result()
    finally:
        file.unlink(missing_ok=True)
        for name in (SUBJECTS, "LAB_BUILT"):
            os.environ.pop(name, None)
    told = any(result.outcome == "harness" for result in collector.results)  # conftest ends with 2 for these as well
    if code not in (0, 1) and not (code == 2 and told):
        raise HarnessError(
            "no check was made: none has that name" if code == 5 else f"pytest ended with {code}\n{said.getvalue()}"
        )
    return collector.results


def check_files(stage: Stage) -> list[str]:
    return [str(file) for file in sorted(CHECKS.glob(f"test_{stage.number:02}_*.py"))]
