"""Stage 4 with many reads: a thousand of them at once, whole files in bounded memory, and what one of many costs."""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import psutil
import pytest

from labkit import patience
from labkit.contract import SUFFIX, hex_of
from labkit.feeder import Feeder, resident_with_two_blocks
from labkit.program import Program, Run, run
from labkit.stages import executable
from labkit.trace import Trace, read_trace
from labkit.verdict import expect_exit_code, reject, reject_unless
from single_read import BLOCK, pattern, write_sparse
from test_04_iocp_files import Outcomes, expect_blocks, expect_pipes_in_any_order, patterned, report_of, shown


class TestManyAtOnce:
    program: ClassVar[str] = "iocp_files"

    def test_a_hundred_pipes_answer_in_any_order(self, feeder: Feeder) -> None:
        """A hundred reads, more than one wait can wait for, pend at once on two workers and end in any order."""
        expect_pipes_in_any_order(feeder, 100)

    @pytest.mark.plain
    def test_a_thousand_pipes_answer_in_any_order(self, feeder: Feeder) -> None:
        """A thousand reads pend at once on two workers; each is reported as it comes, in whatever order that is."""
        expect_pipes_in_any_order(feeder, 1000)


# ---------------------------------------------------------------- how many may be in flight


class TestDepth:
    program: ClassVar[str] = "iocp_files"

    DEPTH = 3
    BLOCKS = 60  # of each of two files

    @pytest.mark.traced
    def test_files_have_no_more_reads_in_flight_than_the_depth(self, tmp_path: Path) -> None:
        """Over 60 blocks of each of two files, never more than --depth reads are in flight at once."""
        wanted: Outcomes = {}
        files = [tmp_path / "one.bin", tmp_path / "two.bin"]
        for number, file in enumerate(files):
            data = patterned(file, self.BLOCKS * BLOCK, start=number << 40)
            for block in range(self.BLOCKS):
                where = 100 * (number + 1), self.BLOCKS * number + block + 1
                wanted[where] = data[block * BLOCK : (block + 1) * BLOCK]
        result = run(executable("iocp_files"), *self.words(), *shown(*files))
        expect_blocks(result, wanted)
        self.expect_depth_kept(result)

    @pytest.mark.traced
    def test_pipes_have_no_more_reads_in_flight_than_the_depth(self, feeder: Feeder) -> None:
        """Reads from two pipes stay in flight until they are fed, one at a time: never more of them than --depth."""
        pipes = [feeder.pipe(), feeder.pipe()]
        with Program(executable("iocp_files"), *self.words(), *(pipe.path for pipe in pipes)) as program:
            for pipe in pipes:
                pipe.wait_until_opened(program)
            for number in range(2 * self.BLOCKS):
                pipes[number // self.BLOCKS].write(pattern(64, number << 8))
                if not program.wait_for(lambda text, fed=number + 1: text.count("COMPLETE : ") >= fed):
                    reject(
                        program.wait(1),
                        expected=f"{number + 1} COMPLETE lines, as many as blocks were fed",
                        came="fewer",
                        errata=("F19",),
                    )
            result = program.wait()
        report = report_of(result)  # which of the reads that are in flight on one pipe a block goes to is not said here
        reads = 2 * self.BLOCKS
        reject_unless(
            report.done == (reads, 64 * reads, 0),
            result,
            expected=f"done : {reads} reads, {64 * reads} bytes, 0 failed",
            came=str(report.done),
            errata=("F19",),
        )
        expect_exit_code(result, 0)
        self.expect_depth_kept(result)

    def words(self) -> list[str]:
        return ["--blocks", str(self.BLOCKS), "--depth", str(self.DEPTH), "--threads", "2"]

    def expect_depth_kept(self, result: Run) -> None:
        most = most_in_flight(trace_of(result))
        reject_unless(
            most <= self.DEPTH,
            result,
            expected=f"at most {self.DEPTH} reads in flight at once, as --depth says",
            came=f"{most} were",
        )


def trace_of(result: Run) -> Trace:
    assert result.trace is not None, "a check that is marked `traced` is about a program with the probe"
    return read_trace(result.trace)


def most_in_flight(trace: Trace) -> int:
    """How many reads were in flight at the moment when there were most of them."""
    reads = [request for request in trace.requests if request.submit.name.startswith("ReadFile")]
    steps = [(read.owned_from, 1) for read in reads]
    steps += [(read.owned_until, -1) for read in reads if read.owned_until is not None]
    now = most = 0
    for _, step in sorted(steps):
        now += step
        most = max(most, now)
    return most


# ---------------------------------------------------------------- what many reads cost


class TestWhatManyCost:
    program: ClassVar[str] = "iocp_files"

    @pytest.mark.plain
    def test_a_large_file_takes_no_more_memory_than_its_requests(self, tmp_path: Path, feeder: Feeder) -> None:
        """A file of 256 MiB is read whole, each block once, in the memory that 32 requests need."""
        block, depth, room = 65_536, 32, 8 << 20
        starts = {at: pattern(8, at) for at in range(0, 256 << 20, block)}
        write_sparse(tmp_path / "large.bin", 256 << 20, starts)
        least = resident_with_two_blocks(feeder, executable("iocp_files"), block)
        words = ["--blocks", "0", "--block", str(block), *shown(tmp_path / "large.bin")]
        with Program(executable("iocp_files"), *words) as program:
            most = max(seen_until_its_end(program, program.resident_bytes), default=0)
            result = program.wait()
        expect_lines(result, [hex_of(data) for data in starts.values()], block)
        if least is None:
            reject(result, expected="COMPLETE : 100, ... for a block of a pipe", came="no such line", errata=("F19",))
        bound = depth * block + room
        reject_unless(
            most - least <= bound,
            result,
            expected=f"at most {bound >> 20} MiB more than for two blocks, however large the file is",
            came=f"{(most - least) / (1 << 20):.1f} MiB more",
        )

    @pytest.mark.traced
    def test_many_reads_need_no_more_calls_each(self, tmp_path: Path) -> None:
        """Of 2500 reads each takes no more calls than each of 250: asking, taking, posting and printing."""
        few, many = 250, 2500
        of_few = calls_for_each(read_small_blocks(tmp_path, few), few)
        result = read_small_blocks(tmp_path, many)
        of_many = calls_for_each(result, many)
        for name, calls in of_many.items():
            # Less than one for each is how well packets happened to come together, which is chance.
            most = 1.5 * max(1.0, of_few[name])
            reject_unless(
                calls <= most,
                result,
                expected=f"at most {most:.1f} calls of {name} for each of {many} reads: {few} took {of_few[name]:.1f}",
                came=f"{calls:.1f} calls for each",
            )


def seen_until_its_end(program: Program, look: Callable[[], float]) -> Iterator[float]:
    """What `look` sees of a running program, again and again, until it has ended. It may take as long as it likes while
    it goes on printing; if it hangs, its end is up to Program.wait."""
    printed, deadline = -1, 0.0
    while True:
        if time.monotonic() > deadline:
            if len(program.text()) == printed:
                return
            printed, deadline = len(program.text()), time.monotonic() + patience.seconds()
        with contextlib.suppress(psutil.NoSuchProcess):
            yield look()
        if program.ends_within(0.005):
            return


def expect_lines(result: Run, data: list[str], size: int) -> None:
    """One COMPLETE line for each block of the one file, all of that size, with these first bytes; then the sums.
    expect_blocks would want all the bytes of the blocks."""
    wanted = Counter(f"COMPLETE : 100, {number}, {size} : {first}" for number, first in enumerate(data, start=1))
    came = Counter(line for line in result.lines if line.startswith(("COMPLETE", "FAILED")))
    missing, extra = list((wanted - came).elements()), list((came - wanted).elements())
    if missing:
        reject(result, expected=missing[0], came=extra[0] if extra else "no such line", errata=("F19",))
    if extra:
        reject(result, expected="one line for each read", came=f"another one: {extra[0]}", errata=("F22",))
    done = f"done : {len(data)} reads, {len(data) * size} bytes, 0 failed"
    reject_unless(result.lines[-1] == done, result, expected=done, came=result.lines[-1], errata=("F19",))
    expect_exit_code(result, 0)


def small_blocks(folder: Path, count: int) -> list[str]:
    """The words for reading a new file of so many blocks of eight bytes each: counted blocks, since of a whole file one
    request may read several."""
    file = folder / f"{count}.bin"
    file.write_bytes(pattern(8 * count))
    return ["--blocks", str(count), "--block", "8", "--threads", "2", *shown(file)]


def expect_small_blocks(result: Run, count: int) -> None:
    expect_lines(result, [hex_of(pattern(8, 8 * number)) for number in range(count)], 8)


def read_small_blocks(folder: Path, count: int) -> Run:
    result = run(executable("iocp_files"), *small_blocks(folder, count))
    expect_small_blocks(result, count)
    return result


def calls_for_each(result: Run, reads: int) -> dict[str, float]:
    """How many calls the program has made for each read, function by function."""
    names = Counter(SUFFIX.sub("", call.name) for call in trace_of(result).calls)
    counted = ("ReadFile", "GetQueuedCompletionStatus", "PostQueuedCompletionStatus", "WriteFile")
    return {name: names[name] / reads for name in counted}
