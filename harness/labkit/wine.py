"""One Wine: a prefix of the lab's own, and the server of every program that runs in it.

Drive C: holds nothing but links to the installed DLLs, and drive Z: is /. Such a prefix takes milliseconds to make and
half a megabyte, because Wine is told never to "update" it, which would copy some 700 MB.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

from labkit.errors import HarnessError


def _first_existing(what: str, candidates: list[str | None]) -> Path:
    for candidate in candidates:
        if candidate and Path(candidate).exists():
            return Path(candidate)
    raise HarnessError(f"{what} was not found; ./harness/lab doctor says what is missing")


def loader() -> Path:
    # Debian's and Ubuntu's `wine` is a shell script around this one, and complains of a missing 32-bit Wine.
    return _first_existing("Wine", ["/usr/lib/wine/wine64", shutil.which("wine64"), shutil.which("wine")])


def _server() -> Path:
    return _first_existing("wineserver", ["/usr/lib/wine/wineserver64", shutil.which("wineserver")])


def _dll_directory() -> Path:
    beside = loader().resolve().parent.parent
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


class Wine:
    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix

    def environment(self) -> dict[str, str]:
        """For Wine and what it runs: the caller's, with this prefix and a UTF-8 locale."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("WINE", "LC_"))}
        return kept | {
            "WINEPREFIX": str(self.prefix),
            "WINEDEBUG": "-all",
            "WINEDLLOVERRIDES": "winedbg.exe=d;winemenubuilder.exe=d;mscoree=d;mshtml=d",
            "LC_ALL": "C.UTF-8",  # or arguments in Korean reach the program as question marks
        }

    def start(self, request_log: Path | None = None) -> None:
        """Starts the server. `request_log`: there it writes down every request that a program makes of it."""
        self._make_prefix()
        # -p without a number: with one, the server would send its services home after each program, and the next
        # program would start them again, with its own stdout, which they would then keep open.
        if request_log is None:
            self._quietly(_server(), "-p")
        else:
            with request_log.open("wb") as log:
                self._quietly(_server(), "-p", "-d", stderr=log.fileno())
        if self._quietly(loader(), "cmd.exe", "/c", "exit 0") != 0:
            raise HarnessError(f"Wine does not start in {self.prefix}; try: rm -rf {self.prefix}")

    def end(self) -> None:
        """Ends the server, and with it whatever still runs in this Wine."""
        self._quietly(_server(), "-k")
        # Its socket's directory stays behind in /tmp: under a name of Wine's, or one Debian's Wine notes down here.
        place = self.prefix.stat()
        shutil.rmtree(f"/tmp/.wine-{os.getuid()}/server-{place.st_dev:x}-{place.st_ino:x}", ignore_errors=True)
        note = self.prefix / "wineserver"
        if note.exists():
            name = note.read_text(encoding="utf-8").strip()
            if re.fullmatch(r"wine-\w+", name):  # never anything else: this removes a directory
                shutil.rmtree(Path("/tmp") / name, ignore_errors=True)
            note.unlink()

    def _make_prefix(self) -> None:
        dlls = _dll_directory()
        made_from = self.prefix / "made-from"
        if made_from.exists() and made_from.read_text(encoding="utf-8") == str(dlls):
            return
        shutil.rmtree(self.prefix, ignore_errors=True)
        drive = self.prefix / "drive_c"
        system = drive / "windows" / "system32"
        for folder in (system, drive / "windows" / "temp", self.prefix / "dosdevices"):
            folder.mkdir(parents=True)
        (self.prefix / "dosdevices" / "c:").symlink_to("../drive_c")
        (self.prefix / "dosdevices" / "z:").symlink_to("/")
        (self.prefix / ".update-timestamp").write_text("disable\n")
        for dll in dlls.iterdir():
            (system / dll.name).symlink_to(dll)
        made_from.write_text(str(dlls), encoding="utf-8")

    def _quietly(self, *words: str | Path, stderr: int = subprocess.DEVNULL) -> int:
        # Not a pipe: the server and its services keep what the first process had for stdout.
        return subprocess.run(
            words,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
            check=False,
            timeout=120,
        ).returncode
