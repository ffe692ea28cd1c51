"""Where Windows and Wine differ. No other module asks which of the two it is.

On Windows a program is simply started. Elsewhere it is started by Wine, in a prefix of the lab's own (build/wine):
drive C: holds nothing but links to the installed DLLs, and drive Z: is /. That prefix takes milliseconds to make and
half a megabyte, because Wine is told never to "update" it, which would copy some 700 MB.

One wineserver serves every program of every lab command that runs at the same time; the last of them ends it. That is
kept by a lock on build/wine.lock: shared while in use, exclusive to start or end the server.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from labkit import paths
from labkit.errors import HarnessError


def path_for_program(path: Path) -> str:
    """The path as a Windows program must be given it."""
    if sys.platform == "win32":
        return str(path)
    return "Z:" + str(path).replace("/", "\\")


# In the environment of everything that a run starts: which run that is.
RUN_MARK = "LAB_RUN"

# Wine 8 under load now and then ends a program before it has begun (see program.may_be_a_failed_start).
STARTS_CAN_FAIL_SILENTLY = sys.platform != "win32"

# ---------------------------------------------------------------- starting and stopping programs

if sys.platform != "win32":
    import fcntl

    PREFIX = paths.BUILD / "wine"
    LOCK = paths.BUILD / "wine.lock"
    RUNNING = PREFIX / "running"  # there while a server is meant to be up

    def _first_existing(what: str, candidates: list[str | None]) -> Path:
        for candidate in candidates:
            if candidate and Path(candidate).exists():
                return Path(candidate)
        raise HarnessError(f"{what} was not found; ./harness/lab doctor says what is missing")

    def _loader() -> Path:
        # Debian's and Ubuntu's `wine` is a shell script around this one, and complains of a missing 32-bit Wine.
        return _first_existing("Wine", ["/usr/lib/wine/wine64", shutil.which("wine64"), shutil.which("wine")])

    def _server() -> Path:
        return _first_existing("wineserver", ["/usr/lib/wine/wineserver64", shutil.which("wineserver")])

    def _dll_directory() -> Path:
        beside = _loader().resolve().parent.parent
        return _first_existing(
            "Wine's DLLs",
            [
                "/usr/lib/x86_64-linux-gnu/wine/x86_64-windows",
                "/usr/lib/wine/x86_64-windows",
                "/usr/lib64/wine/x86_64-windows",
                str(beside / "lib" / "wine" / "x86_64-windows"),
                str(beside / "lib64" / "wine" / "x86_64-windows"),
            ],
        )

    def environment() -> dict[str, str]:
        """For Wine and what it runs: the caller's, with the lab's own prefix and a UTF-8 locale."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("WINE", "LC_"))}
        return kept | {
            "WINEPREFIX": str(PREFIX),
            "WINEDEBUG": "-all",
            "WINEDLLOVERRIDES": "winedbg.exe=d;winemenubuilder.exe=d;mscoree=d;mshtml=d",
            "LC_ALL": "C.UTF-8",  # or arguments in Korean reach the program as question marks
        }

    def command(executable: Path, *arguments: str) -> list[str]:
        return [str(_loader()), str(executable), *arguments]

    def interrupt(process: subprocess.Popen[bytes]) -> None:
        """Ctrl-C."""
        process.send_signal(signal.SIGINT)

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

    def _make_prefix() -> None:
        dlls = _dll_directory()
        made_from = PREFIX / "made-from"
        if made_from.exists() and made_from.read_text(encoding="utf-8") == str(dlls):
            return
        shutil.rmtree(PREFIX, ignore_errors=True)
        system = PREFIX / "drive_c" / "windows" / "system32"
        for folder in (system, PREFIX / "drive_c" / "windows" / "temp", PREFIX / "dosdevices"):
            folder.mkdir(parents=True)
        (PREFIX / "dosdevices" / "c:").symlink_to("../drive_c")
        (PREFIX / "dosdevices" / "z:").symlink_to("/")
        (PREFIX / ".update-timestamp").write_text("disable\n")
        for dll in dlls.iterdir():
            (system / dll.name).symlink_to(dll)
        made_from.write_text(str(dlls), encoding="utf-8")

    def _quietly(*words: str | Path) -> int:
        # Not a pipe: the server and its services keep what the first process had for stdout.
        return subprocess.run(
            words,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            check=False,
            timeout=120,
        ).returncode

    def _start_server() -> None:
        _make_prefix()
        # -p without a number: with one, the server would send its services home after each program, and the next
        # program would start them again, with its own stdout, which they would then keep open.
        _quietly(_server(), "-p")
        if _quietly(_loader(), "cmd.exe", "/c", "exit 0") != 0:
            raise HarnessError(f"Wine does not start in {PREFIX}; try: rm -rf {PREFIX}")
        RUNNING.touch()

    def _end_server() -> None:
        RUNNING.unlink(missing_ok=True)
        _quietly(_server(), "-k")
        # Its socket's directory stays behind in /tmp: under a name of Wine's, or one Debian's Wine notes down here.
        place = PREFIX.stat()
        shutil.rmtree(f"/tmp/.wine-{os.getuid()}/server-{place.st_dev:x}-{place.st_ino:x}", ignore_errors=True)
        note = PREFIX / "wineserver"
        if note.exists():
            name = note.read_text(encoding="utf-8").strip()
            if re.fullmatch(r"wine-\w+", name):  # never anything else: this removes a directory
                shutil.rmtree(Path("/tmp") / name, ignore_errors=True)
            note.unlink()

    @contextlib.contextmanager
    def session() -> Iterator[None]:
        """While this is open, programs can be started. Nests, and is shared between processes."""
        paths.BUILD.mkdir(exist_ok=True)
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

    START_OPTIONS: dict[str, bool | int] = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}

    def end_all_marked(mark: str) -> None:
        """Windows does not show one process the environment of another: children end with their parent only."""

    @contextlib.contextmanager
    def session() -> Iterator[None]:
        yield
