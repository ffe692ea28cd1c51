"""Building the lab's programs with CMake: only what changed, with progress, and one build at a time."""

import contextlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

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


def _lines_of(command: list[str], project: Path, output: list[str]) -> Iterator[str]:
    """Runs a command in a project's folder and yields its lines as they come; its return is the exit code."""
    with subprocess.Popen(
        command,
        cwd=project,
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


def _configure(project: Path, preset: str) -> None:
    output: list[str] = []
    with ui.activity("configuring the build"):
        code = _exit_code(_lines_of([_tool("cmake"), "--preset", preset], project, output))
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
    _build(paths.ROOT, PRESET, paths.BUILD, targets)


def build_bench() -> None:
    """Brings up to date what bench needs beside the lab's own programs: for Windows, and on Linux for Linux."""
    for preset in (PRESET,) if PRESET == "msvc" else (PRESET, "native"):
        _build(paths.HARNESS / "bench", preset, paths.BUILD / "bench" / preset, ())


def _build(project: Path, preset: str, folder: Path, targets: tuple[str, ...]) -> None:
    paths.BUILD.mkdir(exist_ok=True)
    with _alone():
        if not (folder / "CMakeCache.txt").exists():
            _configure(project, preset)
        command = [_tool("cmake"), "--build", "--preset", preset]
        if targets:
            command += ["--target", *targets]
        output: list[str] = []
        lines = _lines_of(command, project, output)
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
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with ui.activity("waiting for another build to end"):
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield
