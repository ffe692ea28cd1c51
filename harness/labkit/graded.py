"""Building a program as its student would, plus the probe. What the compiler says that matters is a verdict."""

import hashlib
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from labkit import paths
from labkit.errors import HarnessError

PROBE = paths.BUILD / "harness" / "libprobe.a"
HEADER = paths.HARNESS / "probe" / "completion_key.hpp"
FOLDER = paths.BUILD / "graded"

# Without optimisation: a function's frame ends where its source says it does.
FLAGS = ["-std=c++20", "-O0", "-g", "-Wall", "-Wextra", "-Wconversion"]

# Warnings that are verdicts, each with the errata it shows. Others are the student's to heed: implicit conversions
# between plain numbers, say, are common in programs that are right.
VERDICTS = (
    (re.compile(r"\[-Wformat="), ("T12", "F14")),
    (re.compile(r"\[-Wclass-memaccess\]"), ("P13", "F5")),
    (re.compile(r"\[-Wunused-(but-set-)?variable\]"), ("P15", "N34")),
    (re.compile(r"conversion .*from ‘SOCKET’|conversion .*from 'SOCKET'"), ("N6",)),
    (re.compile(r"\[-Wstringop-overflow=\]"), ("F10", "N4")),
    (re.compile(r"\[-Wcpp\]"), ("N5",)),  # winsock2.h after windows.h
    (re.compile(r"\[-Wint-to-pointer-cast\]"), ("N6",)),
)

WMAIN = re.compile(r"\bwmain\s*\(")
ENTRY_MISSING = re.compile(r"undefined reference to `w?WinMain'")


@dataclass(frozen=True)
class Built:
    """What became of a source file. `executable` is None if there is a verdict against it already."""

    executable: Path | None
    said: str  # by the compiler, as it would say it to the student
    verdict: tuple[str, ...] = ()  # errata of the warnings that are verdicts


def compiler() -> str:
    for name in ("x86_64-w64-mingw32-g++-posix", "x86_64-w64-mingw32-g++"):
        if found := shutil.which(name):
            return found
    raise HarnessError("the mingw-w64 compiler was not found; ./harness/lab doctor says how to get it")


def build_graded(source: Path, program: str, folder: Path) -> Built:
    """Compiles one source file, which includes what it needs from its own folder, to folder/PROGRAM.exe.

    Needs build/harness/libprobe.a. Nothing is done if nothing has changed since the last time.
    """
    executable = folder / f"{program}.exe"
    folder.mkdir(parents=True, exist_ok=True)
    stamp, said = folder / f"{program}.stamp", folder / f"{program}.said"
    now = _fingerprint(source)
    if executable.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == now:
        return Built(executable, said.read_text(encoding="utf-8"))
    for file in folder.iterdir():  # the old executable, and whatever a run of it has left beside it
        if not file.is_dir():
            file.unlink()
    wide = bool(WMAIN.search(source.read_text(encoding="utf-8", errors="replace")))
    result = _compile(source, executable, wide)
    if result.returncode != 0 and ENTRY_MISSING.search(result.stderr):  # wmain may stand in a header
        result = _compile(source, executable, not wide)
    text = result.stderr.replace(str(source.parent) + "/", "")
    errata = tuple(name for pattern, names in VERDICTS if pattern.search(text) for name in names)
    if result.returncode != 0 or errata:
        executable.unlink(missing_ok=True)
        return Built(None, text, errata)
    _bring_threads(folder)
    said.write_text(text, encoding="utf-8")
    stamp.write_text(now, encoding="utf-8")
    return Built(executable, text)


def _compile(source: Path, executable: Path, wide: bool) -> subprocess.CompletedProcess[str]:
    if not PROBE.exists():
        raise HarnessError(f"{PROBE} is not there: it was not built")
    command = [compiler(), *FLAGS, *(["-municode"] if wide else []), "-include", str(HEADER)]
    command += ["-I", str(paths.HARNESS / "include"), str(source), "-o", str(executable)]
    command += ["-Wl,--whole-archive", str(PROBE), "-Wl,--no-whole-archive", "-lws2_32", "-lmswsock"]
    # winpthread from its DLL: linked in, its own events would look like the program's leaks.
    command += ["-static-libgcc", "-static-libstdc++", "-Wl,-Bdynamic", "-lwinpthread"]
    try:
        return subprocess.run(
            command,
            cwd=source.parent,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=120,
        )
    except subprocess.TimeoutExpired as error:
        raise HarnessError(f"the compiler did not end: {source}") from error


def _fingerprint(source: Path) -> str:
    """Changes with anything the executable is made from."""
    digest = hashlib.sha256(" ".join(FLAGS).encode() + str(PROBE.stat().st_mtime_ns if PROBE.exists() else 0).encode())
    files = sorted(source.parent.glob("*.[ch]*")) + sorted((paths.HARNESS / "include").glob("*")) + [HEADER]
    for file in files:
        if file.is_file():
            digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


def _bring_threads(folder: Path) -> None:
    """Puts winpthread's DLL beside the executable, where Windows looks first."""
    answer = subprocess.run(
        [compiler(), "-print-file-name=libwinpthread-1.dll"], capture_output=True, text=True, check=True
    ).stdout.strip()
    library = Path(answer) if Path(answer).is_absolute() else Path("/usr/x86_64-w64-mingw32/lib/libwinpthread-1.dll")
    if not library.exists():
        raise HarnessError("libwinpthread-1.dll was not found beside the mingw-w64 compiler")
    link = folder / library.name
    if not link.exists():
        link.symlink_to(library.resolve())
