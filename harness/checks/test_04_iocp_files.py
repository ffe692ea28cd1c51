"""Stage 4: four_reads, the problem, and iocp_files, the answer on a completion port."""

import random
from pathlib import Path
from typing import ClassVar

import pytest

from labkit import runtime
from labkit.contract import BROKEN_PIPE, END_OF_FILE, BlockLine, BlockReport, block_report, hex_of
from labkit.feeder import Feeder
from labkit.program import Program, Run, run
from labkit.stages import executable
from labkit.verdict import expect_call_error, expect_exit_code, expect_usage, reject, reject_unless
from single_read import BLOCK, NOTICE_S, pattern
from workers import expect_workers

# What each read is to end with, by (key, id): the bytes it brings or the code it fails with. four_reads has no keys.
Outcomes = dict[tuple[int | None, int], bytes | int]


def shown(*files: Path) -> list[str]:
    return [runtime.path_for_program(file) for file in files]


def patterned(path: Path, size: int, start: int = 0) -> bytes:
    """Makes the file and returns what is in it. `start` keeps two files apart."""
    data = pattern(size, start)
    path.write_bytes(data)
    return data


def report_of(result: Run) -> BlockReport:
    """The program's lines, all of which must be the contract's."""
    report = block_report(result, keys=result.command.startswith("iocp_files"))
    if report.unreadable:
        reject(
            result,
            expected="lines of the contract only, each whole",
            came=f"{len(report.unreadable)} others, the first: {report.unreadable[0]!r}",
            errata=("F24",),
        )
    return report


def line_for(where: tuple[int | None, int], outcome: bytes | int) -> BlockLine:
    if isinstance(outcome, int):
        return BlockLine(*where, error=outcome)
    return BlockLine(*where, bytes=len(outcome), data=hex_of(outcome))


def expect_blocks(result: Run, wanted: Outcomes, *, errata: tuple[str, ...] = ("F1",)) -> None:
    """Exactly these reads, by (key, id), each with the bytes it brought or the code it failed with; the sums; the exit
    code that follows from them."""
    report = report_of(result)
    lines = {(block.key, block.id): str(block) for block in report.blocks}
    several = len(report.blocks) - len(lines)
    reject_unless(not several, result, expected="one line for each read", came=f"{several} too many", errata=("F22",))
    for where, outcome in wanted.items():
        line = str(line_for(where, outcome))
        reasons = (*errata, "F23", "F21", "F12") if isinstance(outcome, int) else errata
        reject_unless(
            where in lines, result, expected=line, came="no line for this read", errata=("F19", *reasons[-1:])
        )
        reject_unless(lines[where] == line, result, expected=line, came=lines[where], errata=reasons)
    extra = sorted(lines[where] for where in lines.keys() - wanted.keys())
    reject_unless(not extra, result, expected=f"{len(wanted)} reads", came=f"others too: {extra[:4]}", errata=("F10",))
    failed = sum(isinstance(outcome, int) for outcome in wanted.values())
    total = sum(len(outcome) for outcome in wanted.values() if not isinstance(outcome, int))
    reject_unless(
        report.done == (len(wanted), total, failed),
        result,
        expected=f"done : {len(wanted)} reads, {total} bytes, {failed} failed",
        came=str(report.done),
        errata=("F19",),
    )
    dones = [number for number, line in enumerate(result.lines) if line.startswith("done : ")]
    reject_unless(
        dones == [len(result.lines) - 1],
        result,
        expected="one line done, the last one",
        came=f"it is line {', '.join(str(number + 1) for number in dones)} of {len(result.lines)}",
        errata=("F19",),
    )
    goes_on = result.lines.count("Main Continue ..")
    reject_unless(goes_on == 1, result, expected="one line Main Continue ..", came=f"{goes_on} of them")
    code = 1 if failed else 0
    expect_exit_code(result, code, ("F3",))


def expect_pipes_in_any_order(feeder: Feeder, count: int) -> None:
    """One read pends on each of so many pipes, which are then fed in a random order: each is reported when it is fed,
    while the others are still pending."""
    pipes = [feeder.pipe() for _ in range(count)]
    # Some 25 characters each: a thousand fit into a command line of Windows, which has 32,767 at most.
    words = ["--blocks", "1", "--block", "64", "--depth", str(count), "--threads", "2", *(pipe.path for pipe in pipes)]
    fed = [pattern(64, number << 8) for number in range(count)]
    order = list(range(count))
    random.Random(count).shuffle(order)
    with Program(executable("iocp_files"), *words) as program:
        for opened, pipe in enumerate(pipes):
            if not pipe.wait_until_opened(program):
                reject(program.wait(1), expected=f"{count} pipes opened", came=f"only {opened} are", errata=("F7",))
        for number in order:
            pipes[number].write(fed[number])
            line = f"COMPLETE : {100 * (number + 1)}, {number + 1}, 64 : {hex_of(fed[number])}"
            if program.wait_for_line(line) is None:
                reject(
                    program.wait(1),
                    expected=f"{line}, while the others are still pending",
                    came="no such line",
                    errata=("F19",),
                )
        result = program.wait()
    for pipe in pipes:
        pipe.close()
    expect_blocks(result, {(100 * (i + 1), i + 1): data for i, data in enumerate(fed)})
    expect_workers(result, 2, too_many=("T16",))


class TestFourReads:
    program: ClassVar[str] = "four_reads"

    def test_it_reads_two_blocks_of_each_file(self, tmp_path: Path) -> None:
        """Ids 1 to 4 bring blocks 0 and 1 of the first file, then of the second."""
        one = patterned(tmp_path / "one.bin", 3 * BLOCK)
        two = patterned(tmp_path / "two.bin", 3 * BLOCK, start=1 << 40)
        result = run(executable("four_reads"), *shown(tmp_path / "one.bin", tmp_path / "two.bin"))
        wanted: Outcomes = {
            (None, 1): one[:BLOCK],
            (None, 2): one[BLOCK : 2 * BLOCK],
            (None, 3): two[:BLOCK],
            (None, 4): two[BLOCK : 2 * BLOCK],
        }
        expect_blocks(result, wanted)
        reject_unless(
            "Main Continue .." in result.lines, result, expected="Main Continue ..", came="no such line", errata=("F4",)
        )

    def test_without_arguments_it_reads_system_files(self) -> None:
        """Without arguments it reads kernel32.dll and ntdll.dll."""
        result = run(executable("four_reads"))
        report = report_of(result)
        reject_unless(
            report.done == (4, 4 * BLOCK, 0),
            result,
            expected="done : 4 reads, 16384 bytes, 0 failed",
            came=str(report.done),
            errata=("F4",),
        )

    def test_each_read_ends_in_its_own_way(self, tmp_path: Path) -> None:
        """A short file: the second block is short; an empty one: both of its reads fail, and the others are done."""
        short = patterned(tmp_path / "short.bin", 5000)
        (tmp_path / "empty.bin").touch()
        result = run(executable("four_reads"), *shown(tmp_path / "short.bin", tmp_path / "empty.bin"))
        wanted: Outcomes = {
            (None, 1): short[:BLOCK],
            (None, 2): short[BLOCK:],
            (None, 3): END_OF_FILE,
            (None, 4): END_OF_FILE,
        }
        expect_blocks(result, wanted)

    def test_pipes_may_answer_in_any_order(self, feeder: Feeder) -> None:
        """Four reads pend on two pipes; it waits for all of them, whichever comes first."""
        first, second = feeder.pipe(), feeder.pipe()
        with Program(executable("four_reads"), first.path, second.path) as program:
            first.wait_until_opened(program)
            second.wait_until_opened(program)
            for pipe in (second, first):
                for start in (0, BLOCK):
                    pipe.write(pattern(BLOCK, start))
            result = program.wait()
        blocks = [pattern(BLOCK), pattern(BLOCK, BLOCK)]
        wanted: Outcomes = {(None, i + 1): blocks[i % 2] for i in range(4)}
        expect_blocks(result, wanted)

    def test_a_broken_pipe_fails_its_own_reads(self, feeder: Feeder, tmp_path: Path) -> None:
        """Both reads of a pipe whose peer goes away fail with 109; those of the file are done."""
        pipe = feeder.pipe()
        data = patterned(tmp_path / "file.bin", 2 * BLOCK)
        with Program(executable("four_reads"), pipe.path, *shown(tmp_path / "file.bin")) as program:
            pipe.wait_until_opened(program)
            pipe.close()
            result = program.wait()
        wanted: Outcomes = {
            (None, 1): BROKEN_PIPE,
            (None, 2): BROKEN_PIPE,
            (None, 3): data[:BLOCK],
            (None, 4): data[BLOCK:],
        }
        expect_blocks(result, wanted)

    @pytest.mark.parametrize("missing", [0, 1])
    def test_a_missing_file_is_reported(self, tmp_path: Path, missing: int) -> None:
        """A file that is not there is reported, whichever of the two it is."""
        files = [tmp_path / "one.bin", tmp_path / "two.bin"]
        patterned(files[1 - missing], 2 * BLOCK)
        expect_call_error(run(executable("four_reads"), *shown(*files)), "CreateFile", ("F7",))

    @pytest.mark.parametrize("words", [["one"], ["one", "two", "three"]], ids=" ".join)
    def test_wrong_usage(self, words: list[str]) -> None:
        """One path or three are wrong usage."""
        expect_usage(run(executable("four_reads"), *words))


class TestIocpFiles:
    program: ClassVar[str] = "iocp_files"

    @pytest.mark.parametrize(
        "options",
        [
            "",
            "--depth 1",
            "--threads 1",
            "--depth 1 --threads 4",
            "--depth 3 --threads 2",
            "--depth 1000 --threads 8",
        ],
    )
    def test_every_block_is_read_once(self, tmp_path: Path, options: str) -> None:
        """Whatever the depth and the number of workers, every block is read once, under its key and id."""
        files: list[Path] = []
        wanted: Outcomes = {}
        for number in range(3):
            data = patterned(tmp_path / f"{number}.bin", 8 * BLOCK, start=number << 40)
            files.append(tmp_path / f"{number}.bin")
            for block in range(7):
                wanted[100 * (number + 1), 7 * number + block + 1] = data[block * BLOCK : (block + 1) * BLOCK]
        result = run(executable("iocp_files"), "--blocks", "7", *options.split(), *shown(*files))
        expect_blocks(result, wanted)
        reject_unless("Main Continue .." in result.lines, result, expected="Main Continue ..", came="no such line")

    def test_without_arguments_it_reads_system_files(self) -> None:
        """Without arguments it reads two blocks of kernel32.dll and of ntdll.dll."""
        result = run(executable("iocp_files"))
        report = report_of(result)
        reject_unless(
            report.done == (4, 4 * BLOCK, 0),
            result,
            expected="done : 4 reads, 16384 bytes, 0 failed",
            came=str(report.done),
            errata=("F19",),
        )
        keys = sorted(block.key or 0 for block in report.blocks)
        reject_unless(
            keys == [100, 100, 200, 200], result, expected="keys 100 and 200", came=str(keys), errata=("F10",)
        )

    @pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 123_456])
    def test_blocks_0_reads_the_whole_file(self, tmp_path: Path, size: int) -> None:
        """--blocks 0 reads a file to its end, the last block short, in blocks of any size."""
        data = patterned(tmp_path / "whole.bin", size)
        result = run(executable("iocp_files"), "--blocks", "0", "--block", "1000", *shown(tmp_path / "whole.bin"))
        pieces = [data[at : at + 1000] for at in range(0, size, 1000)]
        wanted: Outcomes = {(100, i + 1): piece for i, piece in enumerate(pieces)}
        expect_blocks(result, wanted)

    def test_the_offset_has_64_bits(self, tmp_path: Path) -> None:
        """Reads beyond 2 GiB and 4 GiB are past the end of a small file; an offset cut to 32 bits would not be."""
        size = 8 << 20
        data = patterned(tmp_path / "small.bin", size)
        count = (4 << 30) // size + 2
        words = ["--blocks", str(count), "--block", str(size), "--depth", "2"]
        result = run(executable("iocp_files"), *words, *shown(tmp_path / "small.bin"))
        wanted: Outcomes = {(100, 1): data}
        wanted |= {(100, id): END_OF_FILE for id in range(2, count + 1)}
        expect_blocks(result, wanted, errata=("F2",))

    def test_the_end_of_one_file_is_only_its_own(self, tmp_path: Path) -> None:
        """Reads past the end of one file fail with 38; all other reads are done, in that file and in others."""
        short = patterned(tmp_path / "short.bin", BLOCK + 10)
        full = patterned(tmp_path / "full.bin", 5 * BLOCK, start=1 << 40)
        result = run(
            executable("iocp_files"),
            "--blocks",
            "5",
            "--threads",
            "2",
            *shown(tmp_path / "short.bin", tmp_path / "full.bin"),
        )
        wanted: Outcomes = {(100, 1): short[:BLOCK], (100, 2): short[BLOCK:]}
        wanted |= {(100, id): END_OF_FILE for id in (3, 4, 5)}
        wanted |= {(200, 6 + i): full[i * BLOCK : (i + 1) * BLOCK] for i in range(5)}
        expect_blocks(result, wanted)

    def test_failed_requests_do_not_end_the_workers(self, feeder: Feeder) -> None:
        """Four requests fail on a broken pipe; two workers are still there for the other pipe."""
        broken, fed = feeder.pipe(), feeder.pipe()
        with Program(executable("iocp_files"), "--blocks", "4", "--threads", "2", broken.path, fed.path) as program:
            broken.wait_until_opened(program)
            fed.wait_until_opened(program)
            program.wait_for_line("Main Continue ..", NOTICE_S)  # so that the reads pend, and fail with their packets
            broken.close()
            program.wait_for(lambda text: text.count("FAILED : 100, ") == 4)
            for i in range(4):
                fed.write(pattern(BLOCK, i))
            result = program.wait()
        wanted: Outcomes = {(100, id): BROKEN_PIPE for id in (1, 2, 3, 4)}
        report = report_of(result)  # one pipe's requests are filled in order, but may be reported in any
        data = sorted(block.data or "" for block in report.blocks if block.key == 200)
        wanted_data = sorted(hex_of(pattern(BLOCK, i)) for i in range(4))
        reject_unless(
            data == wanted_data, result, expected=f"COMPLETE : 200 with {wanted_data}", came=str(data), errata=("F12",)
        )
        expect_blocks(
            result,
            wanted
            | {(200, b.id): pattern(BLOCK, wanted_data.index(b.data or "")) for b in report.blocks if b.key == 200},
            errata=("F12",),
        )

    def test_fifty_pipes_answer_in_any_order(self, feeder: Feeder) -> None:
        """Fifty reads pend at once on two workers; each is reported as it comes, in whatever order that is."""
        expect_pipes_in_any_order(feeder, 50)

    def test_a_peer_that_goes_away_midway(self, feeder: Feeder) -> None:
        """With one request at a time, a pipe that breaks midway fails the reads that are left: pending or refused."""
        pipe = feeder.pipe()
        with Program(executable("iocp_files"), "--blocks", "5", "--depth", "1", pipe.path) as program:
            pipe.wait_until_opened(program)
            pipe.write(pattern(BLOCK))
            program.wait_for_line("COMPLETE : 100, 1,")
            pipe.close()
            result = program.wait()
        wanted: Outcomes = {(100, 1): pattern(BLOCK)}
        expect_blocks(result, wanted | {(100, id): BROKEN_PIPE for id in (2, 3, 4, 5)})

    def test_a_missing_file_is_reported(self, tmp_path: Path) -> None:
        """A file that is not there is reported, and nobody waits for its reads."""
        patterned(tmp_path / "there.bin", 2 * BLOCK)
        files = shown(tmp_path / "missing.bin", tmp_path / "there.bin")
        result = run(executable("iocp_files"), *files)
        expect_call_error(result, "CreateFile", ("F7",))
        keys = {block.key for block in report_of(result).blocks}
        reject_unless(
            keys <= {200},
            result,
            expected="key 200 for the second file, or no reads at all",
            came=f"keys {sorted(keys, key=str)}",
            errata=("F7",),
        )
        expect_call_error(run(executable("iocp_files"), files[0]), "CreateFile", ("F7",))

    def test_a_path_in_korean_with_spaces(self, tmp_path: Path) -> None:
        """A path in Korean with spaces in it is opened."""
        file = tmp_path / "읽을 파일 하나.bin"
        data = patterned(file, 2 * BLOCK)
        expect_blocks(
            run(executable("iocp_files"), *shown(file)),
            {(100, 1): data[:BLOCK], (100, 2): data[BLOCK:]},
            errata=("E13",),
        )

    def test_lines_of_many_workers_stay_whole(self, tmp_path: Path) -> None:
        """Eight workers, as on a machine with eight processors, print two thousand lines, and each of them is whole."""
        data = patterned(tmp_path / "big.bin", 2000 * 64)
        words = ["--blocks", "2000", "--block", "64", "--threads", "8", "--depth", "64"]
        result = run(executable("iocp_files"), *words, *shown(tmp_path / "big.bin"), processors=8)
        expect_blocks(result, {(100, i + 1): data[i * 64 : i * 64 + 64] for i in range(2000)})

    def test_every_run_ends(self, tmp_path: Path) -> None:
        """Twenty runs in a row report every read and end."""
        data = patterned(tmp_path / "again.bin", 2 * BLOCK)
        for _ in range(20):
            result = run(executable("iocp_files"), *shown(tmp_path / "again.bin"))
            expect_blocks(result, {(100, 1): data[:BLOCK], (100, 2): data[BLOCK:]})

    @pytest.mark.parametrize(
        "words",
        [
            "--blocks",
            "--blocks x file",
            "--blocks -1 file",
            "--block 0 file",
            "--depth 0 file",
            "--threads 0 file",
            "--unknown 1 file",
            "--blocks 18446744073709551616 file",
            "--block 4294967296 file",
        ],
    )
    def test_wrong_usage(self, words: str) -> None:
        """Options that are wrong give the usage on stderr, nothing on stdout, and exit code 2."""
        expect_usage(run(executable("iocp_files"), *words.split()))
