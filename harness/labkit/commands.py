"""What each command of the lab does."""

import contextlib
import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

from labkit import builder, paths, patience, runtime, ui
from labkit.errors import HarnessError
from labkit.program import Program, Run, run
from labkit.stages import STAGES, Stage, executable, stage_named


def build_command(arguments: list[str]) -> int:
    if arguments:
        raise HarnessError("build takes no arguments")
    builder.build()
    return 0


def run_command(arguments: list[str]) -> int:
    """Runs the stages on real input: 0 if every program did what it should."""
    try:
        stages = [stage_named(name) for name in arguments] or list(STAGES)
    except KeyError as error:
        raise HarnessError(f"there is no stage {error}; there are {', '.join(s.folder for s in STAGES)}") from error
    programs = [program for stage in stages for program in stage.programs]
    builder.build(*programs)
    with runtime.session():
        failed = [program for stage in stages for program in _show_stage(stage)]
    if failed:
        ui.say(f"lab: not well: {', '.join(failed)}")
        return 1
    return 0


def _show_stage(stage: Stage) -> list[str]:
    """Runs a stage's programs and prints what they print. Returns those that failed."""
    failed = []
    print(f"\n== {stage.folder}: {stage.question}", flush=True)
    for program in stage.programs:
        result = _run_server() if program == "iocp_network" else run(executable(program))
        print(f"\n$ {result.command}")
        print(result.stdout, end="")
        print(result.stderr, end="", flush=True)
        if result.exit_code != 0:
            print(f"({result.ended_because or f'exit code {result.exit_code}'})")
            failed.append(program)
    return failed


def _run_server() -> Run:
    """Stage 5 with two clients, one for each address family it listens on, and a Ctrl-C."""
    with Program(executable("iocp_network"), "--port", "0") as server:
        first = server.wait_for_line("listening : ")
        if first is not None:
            port = int(first.rpartition(":")[2])
            served = sum(_echo(address, port, "hello, 안녕하세요") for address in ("127.0.0.1", "::1"))
            server.wait_for(lambda text: text.count("closed : ") == served)
            server.interrupt()
        return server.wait()


def _echo(address: str, port: int, text: str) -> bool:
    """One client, from connecting to the end of its echo. False: this machine has no such address."""
    try:
        with socket.create_connection((address, port), timeout=patience.seconds()) as client:
            client.sendall(text.encode())
            client.shutdown(socket.SHUT_WR)
            while client.recv(4096):
                pass
    except OSError as error:
        if address == "127.0.0.1":
            raise HarnessError(f"no connection to the server on {address}: {error}") from error
        ui.say(f"lab: this machine has no {address}: {error}")
        return False
    return True


# pytest's own exit codes that are not verdicts: interrupted, internal error, wrong usage, nothing collected.
PYTEST_VERDICTS = {0: 0, 1: 1}


def test_command(arguments: list[str]) -> int:
    """The units and the checks of the plain programs; then, unless the arguments ask for something in particular, the
    grading of our own programs and of those written differently."""
    code = _test(arguments)
    if arguments and not all(word.startswith("--junitxml") for word in arguments):
        return code
    if builder.PRESET != "mingw":
        ui.say("lab: graded builds need mingw-w64 so far: the checks ran without the probe")
        return code
    from labkit import grade

    return max(code, grade.grade_references())


def _test(arguments: list[str]) -> int:
    """pytest, in parallel unless the arguments say how many."""
    builder.build()
    words = [sys.executable, "-m", "pytest", *_in_parallel(arguments), *arguments]
    if not any(Path(paths.ROOT, word.partition("::")[0]).exists() for word in arguments if word):
        words.append(str(paths.HARNESS))  # pytest 7.2 reads a conftest.py early only where it is pointed to
    with runtime.session():
        code = _in_foreground(words, os.environ | {"LAB_BUILT": "1"}, paths.ROOT)
    if code == 5:
        ui.say("lab: no check was selected, so nothing was shown")
    return PYTEST_VERDICTS.get(code, 2)


def _in_parallel(arguments: list[str]) -> list[str]:
    own = ("-n", "--numprocesses", "--pdb", "-s", "--capture", "--collect-only", "--co", "-p")
    if importlib.util.find_spec("xdist") is None or any(word.startswith(own) for word in arguments):
        return []
    # Most of a check's time goes into waiting for a program that waits: two workers a processor keep it busy.
    return ["-n", str(2 * (os.cpu_count() or 1))]


def exec_command(arguments: list[str]) -> int:
    """Runs one program with the terminal's own input and output and passes its exit code on."""
    if not arguments:
        raise HarnessError("exec needs a program")
    program = Path(arguments[0])
    if not program.exists():
        raise HarnessError(f"{program} is not there")
    with runtime.session():
        return _in_foreground(runtime.command(program.resolve(), *arguments[1:]), runtime.environment(), Path.cwd())


def _in_foreground(words: list[str], environment: dict[str, str], directory: Path) -> int:
    """Runs a command with the terminal's own input and output. Ctrl-C goes to it as well: it decides."""
    with subprocess.Popen(words, cwd=directory, env=environment) as process:
        while True:
            with contextlib.suppress(KeyboardInterrupt):
                return process.wait()


def grade_command(arguments: list[str]) -> int:
    from labkit import grade

    return grade.grade_command(arguments)


def prove_command(arguments: list[str]) -> int:
    from labkit import prove

    return prove.prove_command(arguments)


def bench_command(arguments: list[str]) -> int:
    from labkit.bench import command

    return command.bench_command(arguments)


def trace_command(arguments: list[str]) -> int:
    from labkit.picture import command

    return command.trace_command(arguments)
