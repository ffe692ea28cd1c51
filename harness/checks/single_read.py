"""What stages 1 to 3 have in common: one read, the same arguments, the same paths through it.

Each stage's file inherits these checks and adds its own.
"""

import os
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest

import faults
from labkit import patience, runtime
from labkit.contract import (
    BROKEN_PIPE,
    DEVICE_ERROR,
    END_OF_FILE,
    FILE_NOT_FOUND,
    INVALID_PARAMETER,
    ReadReport,
    call_errors,
    hex_of,
    out_of_form,
    read_report,
)
from labkit.errors import HarnessError
from labkit.feeder import FedPipe, Feeder
from labkit.program import Program, Run, run
from labkit.stages import executable
from labkit.verdict import expect_call_error, expect_exit_code, expect_usage, reject, reject_unless

BLOCK = 4096
NEVER = "4294967295"

# How long a pipe's feeder waits for a program to say that its read is pending. A program that says it too late, because
# it keeps its lines back, gets its data all the same: nothing is judged by this.
NOTICE_S = 3.0


def pattern(size: int, start: int = 0) -> bytes:
    """Bytes that tell where they stand: each eight hold their own offset."""
    return b"".join(struct.pack(">Q", start + i) for i in range(0, size + 8, 8))[:size]


def write_sparse(path: Path, size: int, pieces: dict[int, bytes]) -> None:
    """A file of that size with these bytes at these offsets. What lies between takes no room on the disk."""
    with path.open("wb") as file:
        if os.name == "nt":
            file.close()
            if os.system(f'fsutil sparse setflag "{path}" >nul') != 0:
                raise HarnessError(f"{path} could not be made sparse")
            file = path.open("r+b")
        file.truncate(size)
        for offset, data in pieces.items():
            file.seek(offset)
            file.write(data)
        file.close()


class SingleReadChecks:
    stage: ClassVar[int]
    program: ClassVar[str]

    # ------------------------------------------------ running it

    def start(self, *arguments: str) -> Program:
        return Program(executable(self.program), *arguments)

    def read(self, path: Path | str, *more: str) -> Run:
        shown = path if isinstance(path, str) else runtime.path_for_program(path)
        return run(executable(self.program), shown, *more)

    @property
    def going_on(self) -> str:
        """What the program says before it waits (stage 1), or goes on (stages 2, 3)."""
        return "main : pending" if self.stage == 1 else "Main Continue .."

    def read_pipe(self, pipe: FedPipe, feed: Callable[[], None], *more: str) -> Run:
        """Reads from a pipe that is fed once the program has said that it goes on, or waits."""
        with self.start(pipe.path, *more) as program:
            pipe.wait_until_opened(program)
            program.wait_for_line(self.going_on, NOTICE_S)
            feed()
            return program.wait()

    # ------------------------------------------------ judging it

    def symptom_of(self, report: ReadReport) -> tuple[str, ...]:
        """The erratum that a report points to by itself, whatever was being checked."""
        if self.stage > 1 and report.main_continue and not report.complete:  # main went on and ended; foo never spoke
            return ("T9",) if self.stage == 2 else ("P10",)
        if self.stage > 1 and (report.error or 0) >= 0x80000000:  # a Win32 code is small; a failed NTSTATUS is not
            return ("T13",)
        return ()

    def expect_data(self, run: Run, data: bytes, *, of: str, errata: tuple[str, ...]) -> None:
        """A read that succeeded and brought these bytes."""
        report = read_report(self.stage, run)
        wanted = f"error : 0, bytes : {len(data)}, data : {hex_of(data)} ({of})"
        errata = self.symptom_of(report) or errata
        holds = (report.error, report.bytes, report.data) == (0, len(data), hex_of(data)) and report.complete
        if not holds and run.lines and not report.error:
            self.expect_form(run, errata=self.symptom_of(report) or ("E12",))
        reject_unless(holds, run, expected=wanted, came=str(report), errata=errata)
        reject_unless(
            report.started is not None,
            run,
            expected="main : pending (or: main : completed at once)",
            came="no such line",
            errata=("E2",),
        )
        if self.stage > 1:
            reject_unless(report.main_continue, run, expected="Main Continue ..", came="no such line", errata=("T2",))
        self.expect_form(run)
        self.expect_success(run)

    def expect_form(self, run: Run, *, data: bool = True, errata: tuple[str, ...] = ("E12",)) -> None:
        """Each line about the read once, in the order of whoever prints it. What else a program prints is free."""
        wrong = out_of_form(self.stage, run, data=data)
        if wrong is not None:
            reject(run, expected=wrong[0], came=wrong[1], errata=errata)

    @staticmethod
    def expect_success(run: Run) -> None:
        """Exit code 0, and no call that failed."""
        expect_exit_code(run, 0)
        failed = [f"error : {error.call} : {error.code}" for error in call_errors(run)]
        reject_unless(
            not failed, run, expected="exit code 1 if a call has failed", came=f"0, and {failed}", errata=("E12",)
        )

    def expect_failed_read(self, run: Run, code: int, *, of: str, errata: tuple[str, ...], refused_too: bool) -> None:
        """A read that was accepted and then failed; `refused_too`: or, as Windows may, was refused at once."""
        report = read_report(self.stage, run)
        if refused_too and not report.complete:
            return self.expect_refused(run, "ReadFile", code, errata=errata)
        errata = self.symptom_of(report) or errata
        wanted = f"error : {code}, bytes : 0, no data line ({of})"
        holds = (report.error, report.bytes, report.data) == (code, 0, None) and report.complete
        reject_unless(holds, run, expected=wanted, came=str(report), errata=errata)
        self.expect_form(run, data=False)
        return expect_exit_code(run, 1)

    def expect_refused(self, run: Run, call: str, code: int, *, errata: tuple[str, ...]) -> None:
        """A call that failed before there was a request: only its line on stderr, and exit code 1."""
        expect_call_error(run, call, errata, codes=(code,))
        report = read_report(self.stage, run)
        went_on = report.complete or report.data is not None or report.started is not None
        reject_unless(
            not went_on, run, expected="nothing on stdout: there was no request", came=str(report), errata=errata
        )

    # ------------------------------------------------ files

    def test_without_arguments_it_reads_a_system_file(self) -> None:
        """Without arguments it reads kernel32.dll from the system directory."""
        result = run(executable(self.program))
        report = read_report(self.stage, result)
        holds = (report.error, report.bytes) == (0, BLOCK) and (report.data or "").startswith("4d 5a")
        reject_unless(
            holds,
            result,
            expected="error : 0, bytes : 4096, data : 4d 5a ... (how every Windows program starts)",
            came=str(report),
            errata=self.symptom_of(report) or ("E9",),
        )
        self.expect_form(result)
        self.expect_success(result)

    @pytest.mark.parametrize("offset", [0, 8, BLOCK, 5 * BLOCK + 3])
    def test_the_bytes_come_from_the_offset(self, tmp_path: Path, offset: int) -> None:
        """It reads where OFFSET says."""
        file = tmp_path / "patterned.bin"
        data = pattern(10 * BLOCK)
        file.write_bytes(data)
        self.expect_data(
            self.read(file, str(offset)), data[offset : offset + BLOCK], of=f"the block at {offset}", errata=("E15",)
        )

    @pytest.mark.parametrize("offset", [(1 << 31) + BLOCK, (1 << 32) + BLOCK, (5 << 32) + BLOCK])
    def test_the_offset_has_64_bits(self, tmp_path: Path, offset: int) -> None:
        """An offset beyond 2 GiB and beyond 4 GiB reaches its own bytes."""
        file = tmp_path / "sparse.bin"
        data = pattern(BLOCK, offset)
        write_sparse(file, offset + 2 * BLOCK, {BLOCK: pattern(BLOCK, BLOCK), offset: data})
        self.expect_data(self.read(file, str(offset)), data, of=f"the block at {offset}", errata=("E15",))

    @pytest.mark.parametrize("size", [1, 3, 8, 10])
    def test_a_short_file_gives_what_it_has(self, tmp_path: Path, size: int) -> None:
        """A file shorter than a block gives as many bytes as it has."""
        file = tmp_path / "short.bin"
        file.write_bytes(pattern(16)[:size])
        self.expect_data(self.read(file), pattern(16)[:size], of=f"a file of {size} bytes", errata=("E9",))

    def test_an_empty_file_ends_with_38(self, tmp_path: Path) -> None:
        """Reading an empty file fails with 38, end of file."""
        file = tmp_path / "empty.bin"
        file.touch()
        self.expect_failed_read(self.read(file), END_OF_FILE, of="end of file", errata=("E7",), refused_too=True)

    def test_reading_past_the_end_ends_with_38(self, tmp_path: Path) -> None:
        """Reading past the end of a file fails with 38, end of file."""
        file = tmp_path / "small.bin"
        file.write_bytes(pattern(100))
        result = self.read(file, str(BLOCK))
        self.expect_failed_read(result, END_OF_FILE, of="end of file", errata=("E7",), refused_too=True)

    def test_a_path_in_korean_with_spaces(self, tmp_path: Path) -> None:
        """A path in Korean with spaces in it is opened."""
        file = tmp_path / "한글 이름" / "읽을 파일.bin"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(pattern(64))
        self.expect_data(self.read(file), pattern(64), of="a file with a Korean name", errata=("E13",))

    def test_a_missing_file_is_reported(self, tmp_path: Path) -> None:
        """A file that is not there is reported, and nothing is read."""
        result = self.read(tmp_path / "nothing here.bin")
        self.expect_refused(result, "CreateFile", FILE_NOT_FOUND, errata=("E4",))

    def test_a_directory_is_reported(self, tmp_path: Path) -> None:
        """A directory cannot be opened as a file, and that is reported."""
        expect_call_error(self.read(tmp_path), "CreateFile", ("E4",))

    def test_a_refused_read_is_reported(self, tmp_path: Path) -> None:
        """A read that is refused at once (offset 2^63) is reported, and nothing is waited for."""
        file = tmp_path / "file.bin"
        file.write_bytes(pattern(100))
        result = self.read(file, str(1 << 63), NEVER)
        self.expect_refused(result, "ReadFile", INVALID_PARAMETER, errata=("E3",))

    # ------------------------------------------------ pipes: the feeder decides

    def test_a_pending_read_gets_its_data(self, feeder: Feeder) -> None:
        """A read from an empty pipe is pending until the data comes."""
        pipe = feeder.pipe()
        errata = {1: ("E2", "E1"), 2: ("T2",), 3: ("P4",)}[self.stage]
        with self.start(pipe.path, "0", NEVER) as program:
            pipe.wait_until_opened(program)
            goes_on = program.wait_for_line(self.going_on, NOTICE_S if self.stage == 1 else patience.seconds())
            pipe.write(pattern(BLOCK, 77))
            result = program.wait()
        if self.stage > 1 and read_report(self.stage, result).main_continue:
            reject_unless(
                goes_on is not None,
                result,
                expected=f"{self.going_on} while the read is pending",
                came="it came only when the data had come",
                errata=("T2",),
            )
        self.expect_data(result, pattern(BLOCK, 77), of="what the pipe was fed", errata=errata)

    def test_a_pipe_gives_what_was_written(self, feeder: Feeder) -> None:
        """A read from a pipe is over when some bytes have come, not only when the buffer is full."""
        pipe = feeder.pipe()
        result = self.read_pipe(pipe, lambda: pipe.write(b"abc"))
        self.expect_data(result, b"abc", of="three bytes from a pipe", errata=("E9",))

    def test_the_peer_closes_while_the_read_is_pending(self, feeder: Feeder) -> None:
        """A pending read whose peer goes away fails with 109, broken pipe."""
        pipe = feeder.pipe()
        result = self.read_pipe(pipe, pipe.close)
        self.expect_failed_read(result, BROKEN_PIPE, of="broken pipe", errata=("E3",), refused_too=False)

    def test_the_peer_is_gone_before_the_read(self, feeder: Feeder) -> None:
        """A peer that is gone before the read, or as soon as it was asked for, is 109, broken pipe."""
        pipe = feeder.pipe()
        with self.start(pipe.path) as program:
            pipe.wait_until_opened(program)
            pipe.close()
            result = program.wait()
        self.expect_failed_read(result, BROKEN_PIPE, of="broken pipe", errata=("E3",), refused_too=True)

    # ------------------------------------------------ its end

    def test_it_ends_without_a_key(self) -> None:
        """It ends by itself, while nobody presses a key."""
        with Program(executable(self.program), stdin=subprocess.PIPE) as program:
            result = program.wait()
        reject_unless(
            not result.ended_because, result, expected="it ends by itself", came=result.ended_because, errata=("E11",)
        )

    # ------------------------------------------------ usage

    @pytest.mark.parametrize(
        "words",
        [
            ["x"],
            ["-1"],
            ["18446744073709551616"],
            [""],
            [" 1"],
            ["0x10"],
            ["1.5"],
            ["1 "],
            ["0", "x"],
            ["0", "-1"],
            ["0", "4294967296"],
            ["0", ""],
            ["0", "1000", "one more"],
        ],
        ids=lambda words: " ".join(repr(word) for word in words),
    )
    def test_wrong_usage(self, words: list[str]) -> None:
        """Arguments that are wrong give the usage on stderr, nothing on stdout, and exit code 2."""
        expect_usage(run(executable(self.program), "any file", *words))

    # ------------------------------------------------ what only the probe can bring about

    def read_injected(
        self, path: str, inject: str, *more: str, judged: bool = True, patience_s: float | None = None
    ) -> Run:
        return run(executable(self.program), path, *more, inject=inject, judged=judged, patience_s=patience_s)

    @pytest.mark.traced
    def test_a_read_that_completes_at_once(self, tmp_path: Path) -> None:
        """A read that is done when ReadFile returns is reported like any other."""
        file = tmp_path / "cached.bin"
        file.write_bytes(pattern(BLOCK))
        result = self.read_injected(runtime.path_for_program(file), "ReadFile 0 complete")
        errata = ("E2",) if self.stage == 1 else ("T2",) if self.stage == 2 else ("P4",)
        self.expect_data(result, pattern(BLOCK), of="a read that completes at once", errata=errata)
        wanted = "main : completed at once"
        came = str(read_report(self.stage, result))
        reject_unless(wanted in result.lines, result, expected=wanted, came=came, errata=errata)

    @pytest.mark.traced
    def test_a_completion_that_fails(self, tmp_path: Path) -> None:
        """A read that was accepted and then failed with 1117 ends with that code."""
        file = tmp_path / "bad sector.bin"
        file.write_bytes(pattern(BLOCK))
        path = runtime.path_for_program(file)
        result = self.read_injected(path, f"ReadFile 1 fail-completion {DEVICE_ERROR}")
        errata = ("E7",) if self.stage == 1 else ("T13",)
        self.expect_failed_read(result, DEVICE_ERROR, of="the device failed", errata=errata, refused_too=False)

    @pytest.mark.traced
    def test_every_call_may_fail(
        self, tmp_path: Path, feeder: Feeder, record_property: Callable[[str, object], None]
    ) -> None:
        """Each Win32 call of a run fails once: it is reported, exit code 1, nothing is leaked, and nothing hangs."""
        file = tmp_path / "file.bin"
        file.write_bytes(pattern(BLOCK))
        whole = runtime.path_for_program(file)
        to_fail, failed = self._fail_each(lambda: whole, [])
        # A pipe on which nothing comes: the calls that give a read up.
        more = self._fail_each(lambda: feeder.pipe().path, ["0", "50"], only=("CancelIo", "GetOverlappedResult"))
        record_property("calls to fail", to_fail + more[0])
        record_property("calls failed", failed + more[1])

    def _fail_each(
        self, path: Callable[[], str], more: list[str], only: tuple[str, ...] | None = None
    ) -> tuple[int, int]:
        found = faults.calls_to_fail(self.read_injected(path(), "", *more))
        wanted = [fault for fault in found if only is None or fault.call in only]
        if not wanted:
            return 0, 0

        def again(fault: faults.Fault) -> Run:
            result = self.read_injected(path(), fault.inject, *more, judged=False)
            faults.expect_reported(result, fault, faults.errata_for(self.program, fault))
            return result

        return faults.fail_each(self.program, wanted, again)

    @pytest.mark.traced
    def test_a_read_of_nothing(self, tmp_path: Path) -> None:
        """A read that succeeds with no bytes prints `bytes : 0` and no data line, and exits with 0."""
        file = tmp_path / "file.bin"
        file.write_bytes(pattern(BLOCK))
        result = self.read_injected(runtime.path_for_program(file), "ReadFile 1 short 0")
        report = read_report(self.stage, result)
        reject_unless(
            (report.error, report.bytes, report.data) == (0, 0, None) and report.complete,
            result,
            expected="error : 0, bytes : 0, no data line",
            came=str(report),
            errata=("E9",),
        )
        self.expect_form(result, data=False)
        self.expect_success(result)

    # ------------------------------------------------ again and again

    def test_every_run_says_the_same(self, tmp_path: Path) -> None:
        """Twenty runs in a row all wait for their data and say so."""
        file = tmp_path / "again.bin"
        file.write_bytes(pattern(BLOCK))
        for _ in range(20):
            errata = ("T9",) if self.stage > 1 else ("E8",)
            self.expect_data(self.read(file), pattern(BLOCK), of="the same file each time", errata=errata)
