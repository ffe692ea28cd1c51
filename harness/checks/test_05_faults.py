"""Stage 5 with calls that fail: what only the probe can bring about."""

from collections import Counter
from collections.abc import Callable
from typing import ClassVar

import pytest

import faults
from labkit import patience
from labkit.contract import SUFFIX, call_errors
from labkit.echo import EchoServer, is_listening
from labkit.program import Program, Run
from labkit.stages import executable
from labkit.trace import Trace, read_trace
from labkit.trace_model import DEQUEUES, SLEEPS, WAITS_FOR_MANY, WAITS_FOR_ONE
from labkit.verdict import expect_exit_code, reject, reject_unless
from test_05_iocp_network import PROGRAM, expect_clean_end, expect_echo, expect_end, some_bytes

WORDS = ("--port", "0", "--threads", "2")
NETNAME_DELETED = 64  # what Windows says of a connection that was reset


# Two listeners, and the few accepts that a server wants to have outstanding on each. How long it served plays no part.
MOST_ACCEPTS_IN_A_ROW = 20
WAITS = (*DEQUEUES, *WAITS_FOR_ONE, *WAITS_FOR_MANY, *SLEEPS)


def longest_run_of_accepts(trace: Trace) -> int:
    """How often one thread has called AcceptEx without waiting for anything in between."""
    longest = 0
    in_a_row: Counter[int] = Counter()
    for call in trace.calls:
        if call.name == "AcceptEx":
            in_a_row[call.thread] += 1
            longest = max(longest, in_a_row[call.thread])
        elif call.name in WAITS:
            in_a_row[call.thread] = 0
    return longest


class TestFaults:
    program: ClassVar[str] = PROGRAM

    def serve_two_clients(self, inject: str = "", *, judged: bool = True) -> tuple[Run, bool]:
        """Two clients, one after the other, each with one message, whatever a fault does to them. Second: whether one
        more client was served afterwards. Only the faults are asked for that: the calls of a recorded run are all in
        it.
        """
        with Program(executable(PROGRAM), *WORDS, inject=inject, judged=judged) as program:
            program.wait_for(is_listening)
            if not is_listening(program.text()):
                return program.wait(), False
            server = EchoServer.of(program)
            served = [self._is_served(server) for _ in range(3 if inject else 2)][-1]
            # A call that the recorded run made while it stopped may now be the third client's, which is then the one
            # that the fault may cost.
            if inject and not served:
                served = self._is_served(server)
            if not served:
                # It may be ending by itself: a Ctrl-C in its last moment would change its exit code. If it does not
                # end, the Ctrl-C comes all the same.
                program.ends_within(patience.LATER_S)
            if program.process.poll() is None:
                program.interrupt()
            return program.wait(), served

    @staticmethod
    def _is_served(server: EchoServer) -> bool:
        client = server.try_to_connect()
        if client is None:
            return False
        with client:
            if client.echo(b"hello") != b"hello":
                return False
            client.finish_sending()
            return client.is_ended()

    @pytest.mark.traced
    def test_every_call_may_fail(self, record_property: Callable[[str, object], None]) -> None:
        """Each Win32 call of a run fails once: it is reported, the server survives it, leaks nothing, ends."""
        found = faults.calls_to_fail(self.serve_two_clients()[0])

        def again(fault: faults.Fault) -> Run:
            errata = faults.errata_for(PROGRAM, fault)
            result, serves_on = self.serve_two_clients(fault.inject, judged=False)
            asked = str(fault)
            reject_unless(
                not result.ended_because,
                result,
                expected="it ends",
                came=result.ended_because,
                errata=errata,
                asked=asked,
            )
            if not faults.was_hit(result):
                return result
            if fault.call in faults.THREAD_STARTERS:  # its name and its code are free
                named = bool(result.stderr.strip())
            else:  # a completion that failed, such as a reset, need not be named
                named = fault.call in faults.RESULTS or any(
                    e.call == fault.call and e.code == fault.code for e in call_errors(result)
                )
            wanted = f"on stderr: error : {fault.call} : {fault.code} : ..."
            reject_unless(
                named,
                result,
                expected=wanted,
                came=result.stderr.strip() or "nothing",
                errata=errata,
                asked=asked,
            )
            survived = "stopped : " in result.stdout  # else it could not start, or has given up in order
            reject_unless(
                serves_on or not survived,
                result,
                expected="the next client is served",
                came="it is not",
                errata=errata,
                asked=asked,
            )
            reject_unless(
                result.exit_code == 1 or (survived and result.exit_code == 0),
                result,
                expected="exit code 1, or 0 if it has served on",
                came=f"exit code {result.exit_code}",
                errata=errata,
                asked=asked,
            )
            return result

        to_fail, failed = faults.fail_each(PROGRAM, found, again)
        record_property("calls to fail", to_fail)
        record_property("calls failed", failed)

    @pytest.mark.traced
    def test_a_partial_send(self) -> None:
        """A send that takes fewer bytes than it was given is gone on with: every byte comes back."""
        with EchoServer(inject="WSASend 1 short 10;WSASend 2 short 1;WSASend 3 short 100") as server:
            with server.connect() as client:
                expect_echo(server, client, some_bytes(600), errata=("N38",))
            expect_clean_end(server.stop())

    @pytest.mark.traced
    def test_a_refused_receive(self) -> None:
        """A receive that is refused ends that connection and no other, and nothing is left of it."""
        call = next((c.name for c in self._trace_of_a_message().named("WSARecv", "ReadFile", "recv")), "WSARecv")
        result = self._expect_end_of_one(f"{call} 1 fail 10055", b"", when="when its receive is refused")
        self._expect_named(result, call, ("N16",))

    @pytest.mark.traced
    def test_a_refused_send(self) -> None:
        """A send that is refused ends that connection and no other, and nothing is left of it."""
        for call in self._trace_of_a_message().named("WSASend", "send")[:1]:  # WriteFile writes to stdout too
            result = self._expect_end_of_one(f"{call.name} 1 fail 10055", b"hello", when="when its send is refused")
            self._expect_named(result, call.name, ("N16",))

    @pytest.mark.traced
    def test_a_send_that_fails_later(self) -> None:
        """A send that was accepted and fails later ends that connection and no other, and nothing is left of it."""
        if any(request.submit.name == "WSASend" for request in self._trace_of_a_message().requests):
            inject = f"WSASend 1 fail-completion {NETNAME_DELETED}"
            self._expect_end_of_one(inject, b"hello", when="when its send has failed")

    @staticmethod
    def _trace_of_a_message() -> Trace:
        """Of a run with one client and one message: it shows by which calls this program moves bytes."""
        with EchoServer() as server:
            with server.connect() as client:
                expect_echo(server, client, b"hello")
            result = server.stop()
        assert result.trace is not None
        return read_trace(result.trace)

    @staticmethod
    def _expect_end_of_one(inject: str, sent: bytes, *, when: str) -> Run:
        """The fault strikes the first of two clients."""
        with EchoServer(inject=inject) as server:
            with server.connect() as victim:
                victim.send(sent)
                expect_end(server, victim, when=when, errata=("N16",))
            with server.connect() as other:
                expect_echo(server, other, b"still here", errata=("N16",))
            result = server.stop()
        expect_clean_end(result)
        return result

    @pytest.mark.traced
    def test_a_refused_accept(self) -> None:
        """An accept that is refused is reported and asked for again, not over and over at full speed."""
        refused = ";".join(f"AcceptEx {number} fail 10055" for number in range(1, 31))
        with EchoServer(inject=refused) as server:
            # A server may say that it listens before it asks for its first accept.
            server.program.wait_for(lambda text: "\n" in text, name="stderr")
            result = server.stop()
        expect_clean_end(result)
        self._expect_named(result, "AcceptEx", ("N21",))
        assert result.trace is not None
        asked = longest_run_of_accepts(read_trace(result.trace))
        if asked > MOST_ACCEPTS_IN_A_ROW:
            reject(
                result,
                expected="a refused accept is asked for again when something has happened",
                came=f"AcceptEx was called {asked} times in one thread, which waited for nothing in between",
                errata=("N21",),
            )

    @pytest.mark.traced
    def test_a_dequeue_that_fails(self) -> None:
        """A dequeue that brings no packet and an error is reported; the server serves on."""
        # The third: the one worker, and perhaps main, wait before there is a client, and may give up starting.
        inject = ";".join(f"{name} 3 fail 8" for name in DEQUEUES)
        with EchoServer("--threads", "1", inject=inject) as server:
            for _ in range(3):
                with server.connect() as client:
                    expect_echo(server, client, b"still here", errata=("N12",))
            result = server.stop()
        self._expect_named(result, "GetQueuedCompletionStatus", ("N12",))
        expect_exit_code(result, 0, ("N12",))

    @staticmethod
    def _expect_named(result: Run, call: str, errata: tuple[str, ...]) -> None:
        reject_unless(
            any(error.call == SUFFIX.sub("", call) for error in call_errors(result)),
            result,
            expected=f"on stderr: error : {call} : ...",
            came=result.stderr.strip() or "nothing",
            errata=errata,
            asked=f"{call} fails once",
        )
