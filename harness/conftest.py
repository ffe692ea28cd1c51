"""What every check and every test of the harness shares: the build, the session in which programs run, how a verdict
reads in the terminal, and the line between a verdict and a failure of the harness."""

import os
import re
import shlex
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from labkit import builder, judgement, paths, runtime
from labkit.chaos import soak_times
from labkit.errors import BuildFailed, HarnessError, Rejected
from labkit.feeder import Feeder
from labkit.program import falls
from labkit.subject import Recording, Subject, subjects_wanted, under_test

# pytest's exit code for "the harness could not do its job": neither passed nor failed.
HARNESS_FAILED = 2

# How often a check is made at most, if Wine falls over in it.
MOST_ATTEMPTS = 3

# Temporary files belong under build/, like everything else that is written.
TEMPORARY = paths.BUILD / "tmp"
TEMPORARY.mkdir(parents=True, exist_ok=True)
os.environ["PYTEST_DEBUG_TEMPROOT"] = str(TEMPORARY)

_harness_failures: list[str] = []


def pytest_configure() -> None:
    """Wrong settings are told before anything is collected: as errors of collecting they would look like verdicts."""
    try:
        soak_times()
    except HarnessError as error:
        raise pytest.UsageError(str(error)) from error


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


# ---------------------------------------------------------------- which program a check is about


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A check of a program of the contract is there once for each subject with that program."""
    program = getattr(metafunc.cls, "program", None)
    wanted = subjects_wanted()
    if program is None or wanted is None:
        return
    name = metafunc.function.__name__
    mine = [subject for subject in wanted if subject.program == program and subject.check in ("", name)]
    metafunc.parametrize("subject", mine, ids=[subject.key for subject in mine], indirect=True, scope="function")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if subjects_wanted() is None:
        kept = [item for item in items if item.get_closest_marker("traced") is None]
    else:
        kept = [item for item in items if _is_wanted(item) and item.get_closest_marker("plain") is None]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


def _is_wanted(item: pytest.Item) -> bool:
    """Whether a subject is asked this, and asked this case of it."""
    subject = _subject_of(item)
    if subject is None:
        return False
    return not subject.case or subject.case == _case_of(item)


def _unescaped(id: str) -> str:
    """pytest writes what is not ASCII as \\uNNNN, Korean names too."""
    return re.sub(r"\\u([0-9a-f]{4})", lambda match: chr(int(match[1], 16)), id)


def _case_of(item: pytest.Item) -> str:
    """Which case of a parametrized check about a subject it is; empty: it has none."""
    subject = _subject_of(item)
    if subject is None:
        return ""
    case = _unescaped(item.callspec.id).removesuffix(subject.key).strip("-")
    return case.removeprefix(subject.key).strip("-")


@pytest.fixture(autouse=True)
def subject(request: pytest.FixtureRequest) -> Iterator[Recording | None]:
    """The program under test, for the length of a check."""
    if not isinstance(getattr(request, "param", None), Subject):
        yield None
        return
    with under_test(request.param) as recording:
        yield recording


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool:
    """Makes the check, and raises its verdict. It is made again if Wine has fallen over in one of its runs: whatever
    that showed is not the program's doing, unless it comes again and again."""
    for left in reversed(range(MOST_ATTEMPTS)):
        before = falls()
        verdict = _verdict_of(pyfuncitem)
        if verdict is None:
            break
        if falls() == before or not left:
            raise verdict
        recording = pyfuncitem.funcargs.get("subject")
        if isinstance(recording, Recording):
            recording.forget_runs()
        pyfuncitem.warn(pytest.PytestWarning("Wine has fallen over in a run: the check was made again"))
    return True


def _verdict_of(item: pytest.Function) -> Rejected | None:
    """What the check says, and then what the traces of its runs say."""
    said = None
    try:
        item.obj(**{name: item.funcargs[name] for name in item._fixtureinfo.argnames})
    except Rejected as rejected:
        said = rejected
    recording = item.funcargs.get("subject")
    if not isinstance(recording, Recording):
        return said
    return judgement.verdict_of(recording, said, "-".join(filter(None, (item.originalname, _case_of(item)))))


# ---------------------------------------------------------------- how a verdict reads


def _title(item: pytest.Item) -> str:
    """The check's sentence: the first line of its docstring."""
    function = getattr(item, "function", None)
    text = (function.__doc__ or "").strip().splitlines()[0] if function and function.__doc__ else item.name
    parameters = _unescaped(item.name.partition("[")[2].rstrip("]"))
    return f"{text} [{parameters}]" if parameters else text


def _subject_of(item: pytest.Item) -> Subject | None:
    subject = item.callspec.params.get("subject") if hasattr(item, "callspec") else None
    return subject if isinstance(subject, Subject) else None  # a check without a subject has a placeholder there


def _again(item: pytest.Item) -> str:
    """The command that runs just this check again."""
    subject = _subject_of(item)
    if subject is not None:
        return f"{subject.again} {_just(item)}" if subject.again_takes_only else subject.again
    return f"{paths.door()} test {shlex.quote(item.nodeid)}"


def _just(item: pytest.Item) -> str:
    """The words for `lab grade` that ask for just this check and this case of it."""
    case = _case_of(item)
    return f"--only {shlex.quote(f'{item.originalname}[{case}]' if case else item.originalname)}"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, None]:
    outcome = yield
    report = outcome.get_result()
    file, line, _ = report.location
    report.location = (file, line, _title(item))  # heads the failure in the terminal
    subject = _subject_of(item)
    report.subject_key = subject.key if subject is not None else ""
    error = call.excinfo.value if call.excinfo else None
    again = f"\n  {'again':<10} {_again(item)}"
    if isinstance(error, Rejected):
        report.verdict = {
            "rows": [list(row) for row in error.rows],
            "errata": list(error.errata),
            "again": _again(item),
        }
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
