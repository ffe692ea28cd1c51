"""What every check and every test of the harness shares: the build, the session in which programs run, how a verdict
reads in the terminal, and the line between a verdict and a failure of the harness."""

import os
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from labkit import builder, paths, runtime
from labkit.errors import BuildFailed, HarnessError
from labkit.feeder import Feeder
from labkit.verdict import Rejected

# pytest's exit code for "the harness could not do its job": neither passed nor failed.
HARNESS_FAILED = 2

# Temporary files belong under build/, like everything else that is written.
TEMPORARY = paths.BUILD / "tmp"
TEMPORARY.mkdir(parents=True, exist_ok=True)
os.environ["PYTEST_DEBUG_TEMPROOT"] = str(TEMPORARY)

_harness_failures: list[str] = []


@pytest.fixture(scope="session", autouse=True)
def programs(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every program built, and a session open in which they run.

    A fixture and not a hook: pytest 7.2 reads this file only when it collects, if it was started without arguments.
    """
    try:
        if "LAB_BUILT" not in os.environ:  # `lab test` has built already, with progress in the terminal
            builder.build()
        with runtime.session():
            yield
    except (BuildFailed, HarnessError) as failure:
        code = 1 if isinstance(failure, BuildFailed) else HARNESS_FAILED
        if hasattr(request.config, "workerinput"):  # one of pytest-xdist's processes: its controller must hear of it
            raise
        pytest.exit(f"{failure}", returncode=code)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if _harness_failures and exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        session.exitstatus = HARNESS_FAILED


# ---------------------------------------------------------------- how a verdict reads


def _title(item: pytest.Item) -> str:
    """The check's sentence: the first line of its docstring."""
    function = getattr(item, "function", None)
    text = (function.__doc__ or "").strip().splitlines()[0] if function and function.__doc__ else item.name
    parameters = item.name.partition("[")[2].rstrip("]")
    return f"{text} [{parameters}]" if parameters else text


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, None]:
    outcome = yield
    report = outcome.get_result()
    file, line, _ = report.location
    report.location = (file, line, _title(item))  # heads the failure in the terminal
    error = call.excinfo.value if call.excinfo else None
    again = f"\n  {'again':<10} ./harness/lab test '{item.nodeid}'"
    if isinstance(error, Rejected):
        report.longrepr = f"{error}{again}"
    elif isinstance(error, HarnessError | OSError):
        report.harness_failure = str(error)
        report.longrepr = f"the harness could not do its job; this is no verdict against the program:\n  {error}{again}"


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    return ("error", "E", "HARNESS") if hasattr(report, "harness_failure") else None


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if hasattr(report, "harness_failure"):
        _harness_failures.append(report.nodeid)


# ---------------------------------------------------------------- fixtures


@pytest.fixture(scope="session")
def feeder() -> Iterator[Feeder]:
    """The far end of named pipes, one for all checks of a worker."""
    with Feeder() as feeder:
        yield feeder
