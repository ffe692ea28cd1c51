"""Stage 4 with calls that fail, or complete at once: what only the probe can bring about."""

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest

import faults
from labkit.contract import DEVICE_ERROR, call_errors
from labkit.program import Run, run
from labkit.stages import executable
from labkit.trace_model import handle_at
from labkit.verdict import expect_exit_code, reject_unless
from single_read import BLOCK
from test_04_iocp_files import Outcomes, expect_blocks, patterned, report_of, shown
from test_04_scale import trace_of


class FaultChecks:
    """What both programs of stage 4 are asked."""

    program: ClassVar[str]

    def read_two_files(self, folder: Path, inject: str = "", *, judged: bool = True) -> Run:
        files = [folder / "one.bin", folder / "two.bin"]
        for number, file in enumerate(files):
            if not file.exists():
                patterned(file, 2 * BLOCK, start=number << 40)
        return run(executable(self.program), *shown(*files), inject=inject, judged=judged)

    def all_blocks(self, folder: Path) -> Outcomes:
        files = [folder / "one.bin", folder / "two.bin"]
        keys = (100, 200) if self.program == "iocp_files" else (None, None)
        return {
            (keys[number], 2 * number + block + 1): file.read_bytes()[block * BLOCK : (block + 1) * BLOCK]
            for number, file in enumerate(files)
            for block in (0, 1)
        }

    @pytest.mark.traced
    def test_reads_that_complete_at_once(self, tmp_path: Path) -> None:
        """Reads that are done when ReadFile returns are reported once, like all others."""
        result = self.read_two_files(tmp_path, "ReadFile 0 complete")
        expect_blocks(result, self.all_blocks(tmp_path), errata=("F3",))

    @pytest.mark.traced
    @pytest.mark.parametrize("number", [1, 4])
    def test_a_completion_that_fails(self, tmp_path: Path, number: int) -> None:
        """A read that was accepted and then failed is that one read's failure; the others are done."""
        result = self.read_two_files(tmp_path, f"ReadFile {number} fail-completion {DEVICE_ERROR}")
        wanted = self.all_blocks(tmp_path)
        failed = self.blocks_that_failed(result)
        expect_blocks(result, wanted | {where: DEVICE_ERROR for where in wanted if where[1] in failed}, errata=("F12",))

    @staticmethod
    def blocks_that_failed(result: Run) -> set[int]:
        """The ids of the blocks of the read that was made to fail. One read may be for several; or so few reads may be
        made that there is none of that number."""
        trace = trace_of(result)
        failed = set()
        for read in trace.requests:
            file = handle_at(trace, read.handle, read.submit.begin)
            if read.submit.injected and file is not None:
                first = (2 if file.created.facts.get("path", "").endswith("two.bin") else 0) + read.offset // BLOCK + 1
                failed |= {*range(first, first + read.length // BLOCK)}
        return failed

    @pytest.mark.traced
    def test_every_call_may_fail(self, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
        """Each Win32 call of a run fails once: it is reported, exit code 1, nothing is leaked, and nothing hangs."""
        found = faults.calls_to_fail(self.read_two_files(tmp_path))

        def again(fault: faults.Fault) -> Run:
            result = self.read_two_files(tmp_path, fault.inject, judged=False)
            faults.expect_reported(result, fault, faults.errata_for(self.program, fault))
            return result

        to_fail, failed = faults.fail_each(self.program, found, again)
        record_property("calls to fail", to_fail)
        record_property("calls failed", failed)


class TestFourReadsFaults(FaultChecks):
    program = "four_reads"


class TestIocpFilesFaults(FaultChecks):
    program = "iocp_files"

    @pytest.mark.traced
    @pytest.mark.parametrize("what", [f"short {BLOCK + 904}", f"fail-completion {DEVICE_ERROR}"])
    def test_a_large_read_that_goes_wrong(self, tmp_path: Path, what: str) -> None:
        """A read that brings less than it asked for, or fails, be it for several blocks: each block has its line."""
        file = tmp_path / "large.bin"
        patterned(file, 512 * BLOCK)
        result = run(executable(self.program), "--blocks", "0", *shown(file), inject=f"ReadFile 1 {what}")
        report = report_of(result)
        failed = sum(block.error is not None for block in report.blocks)
        came = (len({block.id for block in report.blocks}), sum(block.bytes or 0 for block in report.blocks), failed)
        reject_unless(
            len(report.blocks) == came[0] == 512 and report.done == came,
            result,
            expected="512 reads, each with one line, and their sums",
            came=f"lines for {came[0]} reads, {came[1]} bytes, {came[2]} failed; done says {report.done}",
        )

    @pytest.mark.traced
    def test_a_dequeue_that_fails(self, tmp_path: Path) -> None:
        """A dequeue that brings no packet and an error is reported, and every read is still done."""
        name = self._dequeuing_call(tmp_path)
        result = self.read_two_files(tmp_path, f"{name} 1 fail 8")
        errors = [error.call for error in call_errors(result)]
        reject_unless(
            not result.ended_because and "GetQueuedCompletionStatus" in errors,
            result,
            expected="on stderr: error : GetQueuedCompletionStatus : 8 : ...",
            came=result.ended_because or result.stderr.strip() or "nothing",
            errata=("F13",),
            asked="the first dequeue fails",
        )
        expect_exit_code(result, 1, ("F13",))
        report_of(result)

    def _dequeuing_call(self, folder: Path) -> str:
        found = faults.calls_to_fail(self.read_two_files(folder))
        names = [fault.name for fault in found if fault.call == "GetQueuedCompletionStatus"]
        return names[0] if names else "GetQueuedCompletionStatus"
