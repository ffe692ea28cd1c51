"""What stages 1 to 3 have in common besides: how they wait for their read, how long, and what follows if that fails."""

from pathlib import Path

import pytest

import faults
from labkit import patience, runtime
from labkit.contract import OPERATION_ABORTED
from labkit.feeder import Feeder
from labkit.program import Run
from labkit.rules.waiting import TIMEOUT_ARGUMENT
from labkit.trace import Call, read_trace
from labkit.trace_model import ERROR_INVALID_HANDLE, WAITS_FOR_MANY, WAITS_FOR_ONE, waited_for
from labkit.verdict import expect_exit_code, reject_unless
from single_read import BLOCK, NEVER, SingleReadChecks, pattern

ENDLESS = 0xFFFF_FFFF
ERROR_NOT_ENOUGH_MEMORY, WAIT_TIMEOUT = 8, 258

# Of the 1500 ms in which nothing comes. Programs that wait were seen to take 10 at most for all that they do besides.
MOST_PROCESSOR_MS = 150


def _timeout_of(call: Call) -> int:
    return call.argument(TIMEOUT_ARGUMENT[call.name]) & ENDLESS


class WaitingReadChecks(SingleReadChecks):
    @pytest.mark.parametrize("timeout_ms", ["0", "150"])
    def test_a_silent_pipe_is_given_up(self, feeder: Feeder, timeout_ms: str) -> None:
        """A pipe on which nothing comes is given up after TIMEOUT_MS: the read is cancelled, 995."""
        result = self.read(feeder.pipe().path, "0", timeout_ms)
        self.expect_failed_read(result, OPERATION_ABORTED, of="cancelled", errata=("E8",), refused_too=False)
        if result.trace is not None:
            self.expect_bounded_by(int(timeout_ms), result)

    @pytest.mark.traced
    def test_a_wait_is_a_wait(self, feeder: Feeder) -> None:
        """While nothing comes the program waits: it does not go round, and it gives up after TIMEOUT_MS, not later."""
        result = self.read_injected(feeder.pipe().path, "", "0", "1500")
        self.expect_failed_read(result, OPERATION_ABORTED, of="cancelled", errata=("E8",), refused_too=False)
        assert result.trace is not None
        spent = read_trace(result.trace).processor_ms
        reject_unless(
            spent <= MOST_PROCESSOR_MS,
            result,
            expected="no processor time is taken while nothing comes",
            came=f"{spent} ms of it",
            errata=("E8",),
        )
        self.expect_bounded_by(1500, result)

    @pytest.mark.traced
    def test_the_default_bounds_the_wait(self, tmp_path: Path) -> None:
        """Without TIMEOUT_MS the read is given up after 10000 ms: a wait for it that is bounded is no longer."""
        file = tmp_path / "file.bin"
        file.write_bytes(pattern(BLOCK))
        result = self.read_injected(runtime.path_for_program(file), "")
        self.expect_data(result, pattern(BLOCK), of="a file", errata=("E9",))
        self.expect_bounded_by(10_000, result)

    def expect_bounded_by(self, timeout_ms: int, run: Run) -> None:
        """If a wait for the read is bounded by itself, it or another one must be over by then. A wait without end is
        bounded by something else, or by nothing, which a silent pipe shows."""
        assert run.trace is not None
        trace = read_trace(run.trace)
        given_up = next((call.begin for call in trace.named("CancelIo", "CancelIoEx")), len(trace.entries))
        of_the_read = [ms for call, ms in self.waits_for_the_read(run) if ms != ENDLESS and call.begin < given_up]
        every = [_timeout_of(call) for call in trace.named(*WAITS_FOR_ONE, *WAITS_FOR_MANY) if call.begin < given_up]
        reject_unless(
            not of_the_read or min([*of_the_read, *every]) <= timeout_ms,
            run,
            expected=f"a wait for the read of {timeout_ms} ms",
            came=f"one of {min(of_the_read, default=0)} ms",
            errata=("E8",),
        )

    @staticmethod
    def waits_for_the_read(run: Run) -> list[tuple[Call, int]]:
        """Every wait for what tells of the read's end, and for how many milliseconds."""
        assert run.trace is not None
        trace = read_trace(run.trace)
        told_by = {of for request in trace.requests for of in (request.event, request.handle, request.ov) if of}
        waits = [call for call in trace.named(*WAITS_FOR_ONE, *WAITS_FOR_MANY) if told_by & {*waited_for(call)}]
        waits += [call for call in trace.named("GetOverlappedResultEx") if call.argument(1) in told_by]
        return [(call, _timeout_of(call)) for call in waits]

    @pytest.mark.traced
    def test_a_cancel_that_comes_too_late(self, tmp_path: Path) -> None:
        """A read that is done just when the wait for it has timed out is a read that succeeded: what its completion
        says counts, and that there was nothing left to cancel is no error."""
        file = tmp_path / "just in time.bin"
        file.write_bytes(pattern(BLOCK))
        words = (runtime.path_for_program(file), "0", "5000")
        usual = self.read_injected(words[0], "", *words[1:], judged=False)
        bounded = [call for call, ms in self.waits_for_the_read(usual) if ms != ENDLESS]
        if not bounded:
            return  # somebody else bounds the wait, by a timer, say
        result = faults.strike(
            bounded[0],
            usual,
            f"fail {WAIT_TIMEOUT}",
            lambda inject: self.read_injected(words[0], inject, *words[1:], judged=False),
        )
        if result is not None:
            self.expect_data(result, pattern(BLOCK), of="a read that was done before it was cancelled", errata=("E8",))

    @pytest.mark.traced
    def test_nothing_hangs_on_a_silent_pipe(self, feeder: Feeder) -> None:
        """If the wait fails, or the thread cannot be had, a read on which nothing comes is cancelled."""
        fed = feeder.pipe()
        usual = self.read_pipe(fed, lambda: fed.write(b"abc"), "0", NEVER)
        assert usual.trace is not None
        waits = [call for call, _ in self.waits_for_the_read(usual) if call.name != "GetOverlappedResultEx"]
        for call in [*waits[:1], *read_trace(usual.trace).named(*faults.THREAD_STARTERS)[:1]]:
            result = faults.strike(
                call,
                usual,
                f"fail {ERROR_INVALID_HANDLE if call in waits else ERROR_NOT_ENOUGH_MEMORY}",
                lambda inject: self.read_injected(
                    # Other waits, or threads, may be struck than the one meant: a hang is no hang of the program then.
                    feeder.pipe().path,
                    inject,
                    "0",
                    NEVER,
                    judged=False,
                    patience_s=patience.seconds(),
                ),
            )
            if result is None:
                continue
            reject_unless(
                not result.ended_because,
                result,
                expected=f"after {call.name} has failed, the read is cancelled, and the program ends",
                came=result.ended_because,
                errata=("E8",) if call in waits else ("T10",),
            )
            expect_exit_code(result, 1)
