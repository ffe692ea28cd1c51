"""The reader of stage 4 beside a loop of blocking reads, over one file that the system has in memory."""

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from labkit import paths, runtime
from labkit.bench.contestants import SYNC_READ
from labkit.bench.echo import Spread
from labkit.errors import HarnessError
from labkit.feeder import Feeder, resident_with_two_blocks
from labkit.stages import executable

BLOCKS = (65536, 4096)
DEPTH = 32


@dataclass(frozen=True)
class Reading:
    seconds: float
    most_bytes: int  # resident, at most


@dataclass
class BlockSize:
    block_bytes: int
    file_bytes: int
    start_bytes: int  # resident when the reader has read one block
    rounds: list[tuple[Reading, Reading]]  # the reader's, and the loop's

    @property
    def ratio(self) -> Spread:
        """The reader's rate over the loop's, round by round."""
        return Spread.of([loop.seconds / reader.seconds for reader, loop in self.rounds])

    @property
    def grown_bytes(self) -> int:
        return max(reader.most_bytes for reader, _ in self.rounds) - self.start_bytes

    @property
    def allowed_bytes(self) -> int:
        return DEPTH * self.block_bytes + (8 << 20)


def measure(rounds: int, file_mib: int, told: Callable[[int, int], None]) -> list[BlockSize]:
    with cached_file(file_mib) as file, Feeder() as feeder:
        sizes = [BlockSize(block, file.stat().st_size, _start_bytes(feeder, block), []) for block in BLOCKS]
        for number in range(rounds):
            for size in sizes:
                size.rounds.append(_round(size.block_bytes, file, reader_first=number % 2 == 0))
                told(number * len(sizes) + sizes.index(size) + 1, rounds * len(sizes))
        return sizes


def _start_bytes(feeder: Feeder, block: int) -> int:
    resident = resident_with_two_blocks(feeder, executable("iocp_files"), block)
    if resident is None:
        raise HarnessError("iocp_files reports no block of a pipe")
    return resident


def _round(block: int, file: Path, *, reader_first: bool) -> tuple[Reading, Reading]:
    def reader() -> Reading:
        words = ("--blocks", "0", "--block", str(block), "--depth", str(DEPTH))
        return timed(executable("iocp_files"), *words, file=file)

    def loop() -> Reading:
        return timed(SYNC_READ, str(block), file=file)

    if reader_first:
        first = reader()
        return first, loop()
    first = loop()
    return reader(), first


def timed(program: Path, *arguments: str, file: Path) -> Reading:
    """Its lines go where nobody reads them: what is measured is reading."""
    words = runtime.command(program, *arguments, runtime.path_for_program(file))
    began = time.perf_counter()
    with subprocess.Popen(
        words, env=runtime.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, **runtime.START_OPTIONS
    ) as process:
        watched = psutil.Process(process.pid)
        most = 0
        while process.poll() is None:
            with contextlib.suppress(psutil.Error):
                most = max(most, watched.memory_info().rss)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
        seconds = time.perf_counter() - began
    if process.returncode != 0:
        raise HarnessError(f"{program.name} {' '.join(arguments)} ended with {process.returncode}")
    return Reading(seconds, most)


@contextlib.contextmanager
def cached_file(mib: int) -> Iterator[Path]:
    """A file of so many MiB that was just written."""
    file = paths.BUILD / "bench" / "file.bin"
    piece = os.urandom(1 << 20)
    try:
        with file.open("wb") as out:
            for _ in range(mib):
                out.write(piece)
        yield file
    finally:
        file.unlink(missing_ok=True)
