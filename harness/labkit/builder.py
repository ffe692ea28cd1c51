"""Building the lab's programs with CMake: only what changed, with progress, and one build at a time."""

import contextlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator

from labkit import paths, ui
from labkit.errors import BuildFailed, HarnessError

PRESET = "msvc" if sys.platform == "win32" else "mingw"

# "[3/14] Building CXX object ...", as Ninja counts its steps.
STEP = re.compile(r"^\[(\d+)/(\d+)\] (.*)")


def _tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise HarnessError(f"{name} was not found; ./harness/lab doctor says how to get it")
    return path


def _lines_of(command: list[str], output: list[str]) -> Iterator[str]:
    """Runs a command in the repository and yields its lines as they come. The exit code is the generator's return."""
    with subprocess.Popen(
        command,
        cwd=paths.ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            output.append(line.rstrip())
            yield line
        return process.wait()


def _configure() -> None:
    output: list[str] = []
    with ui.activity("configuring the build"):
        code = _exit_code(_lines_of([_tool("cmake"), "--preset", PRESET], output))
    if code != 0:
        raise HarnessError("CMake could not configure the build:\n" + "\n".join(output))


def _exit_code(lines: Iterator[str]) -> int:
    while True:
        try:
            next(lines)
        except StopIteration as end:
            return int(end.value)


def build(*targets: str) -> None:
    """Brings build/ up to date, or only these targets of it. Raises BuildFailed with what the compiler said."""
    paths.BUILD.mkdir(exist_ok=True)
    with _alone():
        if not (paths.BUILD / "CMakeCache.txt").exists():
            _configure()
        command = [_tool("cmake"), "--build", "--preset", PRESET]
        if targets:
            command += ["--target", *targets]
        output: list[str] = []
        lines = _lines_of(command, output)
        with ui.progress("building") as progress:
            while True:
                try:
                    step = STEP.match(next(lines))
                except StopIteration as end:
                    code = int(end.value)
                    break
                if step:
                    progress(int(step[1]), int(step[2]))
    if code != 0:
        raise BuildFailed("\n".join(line for line in output if not STEP.match(line) or "FAILED" in line))


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Two builds in one tree would write over each other: the second waits for the first."""
    if sys.platform == "win32":  # MSBuild keeps its own locks
        yield
        return
    import fcntl

    with (paths.BUILD / "build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
