"""Where Windows and Wine differ. No other module asks which of the two it is.

On Windows a program is simply started. Elsewhere it is started by Wine, in a prefix of the lab's own (build/wine).

One wineserver serves every program of every lab command that runs at the same time; the last of them ends it. That is
kept by a lock on build/wine.lock: shared while in use, exclusive to start or end the server.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from labkit import paths


def path_for_program(path: Path) -> str:
    """The path as a Windows program must be given it."""
    if sys.platform == "win32":
        return str(path)
    return "Z:" + str(path).replace("/", "\\")


# In the environment of everything that a run starts: which run that is.
RUN_MARK = "LAB_RUN"

# Wine 8 under load now and then ends a program before it has begun (see Program).
STARTS_CAN_FAIL_SILENTLY = sys.platform != "win32"

# What Wine and Linux's loader say when a process comes to its end while one of its threads is on the way out.
FALLEN = re.compile(r"^(wine client error:|Inconsistency detected by ld\.so).*\n?", re.MULTILINE)


def has_fallen_over(exit_code: int, stderr: str) -> bool:
    """Whether Wine, and not the program, may have ended badly: by a signal of Linux, or with these words. A program
    that crashes ends with a code of Windows.

    Wine 8 does so on a busy machine when a process ends while one of its threads does too: also the one that brings a
    Ctrl-C, then in about one of a thousand runs (mostly by its server's SIGKILL, half a second after the last line).
    """
    return sys.platform != "win32" and (exit_code < 0 or FALLEN.search(stderr) is not None)


def without_words_of_a_fall(stderr: str) -> str:
    return FALLEN.sub("", stderr)


# A program that wants more than so many bytes is refused them.
MOST_MEMORY = 1 << 30

# ---------------------------------------------------------------- starting and stopping programs

if sys.platform != "win32":
    import fcntl
    import resource
    import select

    from labkit.wine import Wine, loader

    WINE = Wine(paths.BUILD / "wine")
    LOCK = paths.BUILD / "wine.lock"
    RUNNING = WINE.prefix / "running"  # there while a server is meant to be up

    def environment() -> dict[str, str]:
        return WINE.environment()

    def command(executable: Path, *arguments: str) -> list[str]:
        return [str(loader()), str(executable), *arguments]

    def interrupt(process: subprocess.Popen[bytes]) -> None:
        """Ctrl-C."""
        process.send_signal(signal.SIGINT)

    def limit_memory(process: subprocess.Popen[bytes]) -> None:
        """Of its own, and for each of those that it starts. More is refused, which C++ tells by std::bad_alloc."""
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(process.pid, resource.RLIMIT_DATA, (MOST_MEMORY, MOST_MEMORY))

    def wait_for_end(process: subprocess.Popen[bytes], seconds: float) -> bool:
        """Whether it ends in that time. Popen.wait would look again and again, up to 50 ms apart."""
        if process.poll() is not None:
            return True
        with contextlib.suppress(ProcessLookupError):  # another thread has just seen its end
            end = os.pidfd_open(process.pid)
            try:
                ends = select.poll()  # select is for descriptors below 1024, and there may be 10,000 clients
                ends.register(end, select.POLLIN)
                if not ends.poll(seconds * 1000):
                    return False
            finally:
                os.close(end)
        process.wait()  # poll would know nothing while another thread waits
        return True

    START_OPTIONS: dict[str, bool | int] = {"start_new_session": True}  # Ctrl-C in the terminal is for the lab alone

    def end_all_marked(mark: str) -> None:
        """Kills every process in whose environment RUN_MARK begins with `mark`: what a program has started and left
        behind inherits it, whoever its parent is by now, and a Windows program cannot change it."""
        wanted = f"{RUN_MARK}={mark}".encode()
        for _ in range(100):  # again: one may have been starting another
            left = [
                pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _has_in_environment(pid, wanted)
            ]
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if not left:
                return

    def _has_in_environment(pid: int, start: bytes) -> bool:
        try:
            with open(f"/proc/{pid}/environ", "rb") as environ:
                return any(entry.startswith(start) for entry in environ.read().split(b"\0"))
        except OSError:  # gone meanwhile, or somebody else's
            return False

    def _start_server() -> None:
        WINE.start()
        RUNNING.touch()

    def _end_server() -> None:
        RUNNING.unlink(missing_ok=True)
        WINE.end()

    @contextlib.contextmanager
    def session() -> Iterator[None]:
        """While this is open, programs can be started. Nests, and is shared between processes."""
        paths.BUILD.mkdir(exist_ok=True)
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # thousands of connections: Wine's server inherits it
        with LOCK.open("w") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    _start_server()
                    fcntl.flock(lock, fcntl.LOCK_SH)
                    break
                except BlockingIOError:
                    fcntl.flock(lock, fcntl.LOCK_SH)
                    if RUNNING.exists():
                        break
                    fcntl.flock(lock, fcntl.LOCK_UN)  # it was just being ended: try again from the start
            try:
                yield
            finally:
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # refused while others use the server
                    _end_server()

else:

    def environment() -> dict[str, str]:
        return dict(os.environ)

    def command(executable: Path, *arguments: str) -> list[str]:
        return [str(executable), *arguments]

    def interrupt(process: subprocess.Popen[bytes]) -> None:
        """Ctrl-Break: the only console event that can be sent to one group of processes."""
        process.send_signal(signal.CTRL_BREAK_EVENT)

    def limit_memory(process: subprocess.Popen[bytes]) -> None:
        """Not limited: Windows limits jobs, not processes, and nothing is graded there yet."""

    def wait_for_end(process: subprocess.Popen[bytes], seconds: float) -> bool:
        """Whether it ends in that time."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        return process.poll() is not None

    START_OPTIONS: dict[str, bool | int] = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}

    def end_all_marked(mark: str) -> None:
        """Windows does not show one process the environment of another: children end with their parent only."""

    @contextlib.contextmanager
    def session() -> Iterator[None]:
        yield
