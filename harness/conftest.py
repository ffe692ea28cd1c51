"""What every check and every test of the harness shares: the build, the session in which programs run, how a verdict
reads in the terminal, and the line between a verdict and a failure of the harness."""

import contextlib
import os
from collections.abc import Iterator

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

_open_sessions = contextlib.ExitStack()
_harness_failures = pytest.StashKey[list[str]]()


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")  # one of pytest-xdist's processes


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_harness_failures] = []


def pytest_sessionstart(session: pytest.Session) -> None:
    """Builds once, before any worker starts, and opens the session in which programs run."""
    config = session.config
    if config.option.collectonly:
        return
    try:
        if not _is_worker(config):
            with _terminal_free(config):
                builder.build()
        _open_sessions.enter_context(runtime.session())
    except BuildFailed as failure:
        pytest.exit(f"it does not compile:\n{failure}", returncode=1)
    except HarnessError as failure:
        pytest.exit(f"harness: {failure}", returncode=HARNESS_FAILED)


@contextlib.contextmanager
def _terminal_free(config: pytest.Config) -> Iterator[None]:
    """Lets the build's progress reach the terminal, which pytest captures."""
    capture = config.pluginmanager.getplugin("capturemanager")
    if capture is None:
        yield
        return
    capture.suspend_global_capture(in_=True)
    try:
        yield
    finally:
        capture.resume_global_capture()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    _open_sessions.close()
    if session.config.stash[_harness_failures] and exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        session.exitstatus = HARNESS_FAILED


# ---------------------------------------------------------------- how a verdict reads


def _title(item: pytest.Item) -> str:
    """The check's sentence: the first line of its docstring."""
    function = getattr(item, "function", None)
    text = (function.__doc__ or "").strip().splitlines()[0] if function and function.__doc__ else item.name
    parameters = item.name.partition("[")[2].rstrip("]")
    return f"{text} [{parameters}]" if parameters else text


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
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


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if hasattr(report, "harness_failure") and _config is not None:
        _config.stash[_harness_failures].append(report.nodeid)


_config: pytest.Config | None = None


@pytest.hookimpl(trylast=True)
def pytest_collection(session: pytest.Session) -> None:
    global _config
    _config = session.config


# ---------------------------------------------------------------- fixtures


@pytest.fixture(scope="session")
def feeder() -> Iterator[Feeder]:
    """The far end of named pipes, one for all checks of a worker."""
    with Feeder() as feeder:
        yield feeder
