"""The servers that are measured: ours, and one on Asio."""

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from labkit import builder, paths
from labkit.errors import HarnessError
from labkit.program import Program
from labkit.stages import executable

BINARIES = paths.BUILD / "bench" / builder.PRESET / "bin"
LOAD = (BINARIES if sys.platform == "win32" else paths.BUILD / "bench" / "native" / "bin") / (
    "echo_load.exe" if sys.platform == "win32" else "echo_load"
)
SYNC_READ = BINARIES / "sync_read.exe"


@dataclass(frozen=True)
class Contestant:
    name: str
    executable: Path
    arguments: tuple[str, ...]


OURS = Contestant(
    "iocp_network",
    executable("iocp_network"),
    ("--port", "0", "--quiet", "--max-connections", "1000000", "--idle-seconds", "0"),
)
PEERS = tuple(
    Contestant(f"asio, {threads} thread{'s' if threads > 1 else ''}", BINARIES / "asio_echo.exe", ("0", str(threads)))
    for threads in (1, 2)
)


@dataclass(frozen=True)
class Serving:
    program: Program
    port: int


@contextlib.contextmanager
def serving(contestant: Contestant, environment: dict[str, str] | None = None) -> Iterator[Serving]:
    """That server, listening; ended afterwards. `environment`: of another Wine than the lab's."""
    with Program(contestant.executable, *contestant.arguments, environment=environment) as program:
        line = program.wait_for_line("listening : ")
        if line is None:
            raise HarnessError(f"{contestant.name} does not listen: {program.text('stderr') or 'it says nothing'}")
        yield Serving(program, int(line.rpartition(":")[2]))
