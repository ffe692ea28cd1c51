"""Each rule finds what it is for, and leaves alone what is right."""

import pytest

from labkit.rules import ERRATA, RULES, judge
from labkit.rules.waiting import MS
from labkit.stages import stage_named
from traces import trace_of

FILE = "main CreateFileW 0 0 0 0 0 40000000 0 path=a -> 30\n"
EVENT = "main CreateEventW 0 1 0 0 -> 34\n"
PORT = "main CreateIoCompletionPort ffffffffffffffff 0 0 0 -> 40\n"
ON_PORT = FILE + PORT + "main CreateIoCompletionPort 30 40 64 0 -> 40\n"
ARGUMENTS = "30 b0 1000 0 f0 ov=f0 ov_in=heap:1 buf=b0 buf_in=heap:2 len=1000 off=0"
READ = f"main ReadFile {ARGUMENTS} event=34 -> 0 997\n"
PORT_READ = f"main ReadFile {ARGUMENTS} event=0 -> 0 997\n"
RESULT = "t2 GetOverlappedResult 30 f0 c 1 -> 1 0 bytes=1000\n"
TAKEN = "t2 GetQueuedCompletionStatus 40 a b c ffffffff ov_before=0 -> 1 0 bytes=1000 key=64 ov=f0\n"
FAILED = "t2 GetQueuedCompletionStatus 40 a b c ffffffff ov_before=0 -> 0 38 bytes=0 key=64 ov=f0\n"
STOP = "t2 GetQueuedCompletionStatus 40 a b c ffffffff ov_before=0 -> 1 0 bytes=0 key=0 ov=0\n"
TWO_READS = "t2 ! thread-start\n" + ON_PORT + PORT_READ + PORT_READ.replace("f0", "f8")
OTHER_TAKEN = TAKEN.replace("t2", "t3").replace("f0", "f8")
FREED = "t2 ! free block=1 how=delete\nt2 ! free block=2 how=delete[]\n"
CLOSED = "main CloseHandle 34 -> 1\nmain CloseHandle 30 -> 1\n"
CANCEL = "main CancelIoEx 30 f0 -> 1\n"
THREAD = "main _beginthreadex 0 0 0 0 0 0 -> 38 0 thread=2\nt2 ! thread-start low=1 high=2\n"
JOINED = "main WaitForSingleObject 38 ffffffff -> 0\n"
SOCKET = "main WSASocketW 2 1 6 0 0 81 -> 50\n"
LISTENER = SOCKET + "main setsockopt 50 ffff fffffffb a 4 value=1 -> 0\nmain bind 50 a 10 -> 0\n"


def accept(ov: str, socket: str) -> str:
    return (
        f"main AcceptEx 50 {socket} b0 0 20 20 0 {ov} ov={ov} ov_in=heap:1 buf=b0 buf_in=heap:1 len=0 off=0 -> 0 997\n"
    )


ACCEPTED = (
    "main WSASocketW 2 1 6 0 0 81 -> 54\n"
    + accept("f0", "54")
    + "t2 GetQueuedCompletionStatus 40 a b c ffffffff ov_before=0 -> 1 0 bytes=0 key=0 ov=f0\n"
)

# Rule, program, a run in which it finds something, a run in which it does not.
CASES = [
    ("event-leak", "event_wait", EVENT, EVENT + "main CloseHandle 34 -> 1"),
    ("file-leak", "iocp_files", FILE, FILE + "main CloseHandle 30 -> 1"),
    ("port-leak", "iocp_files", PORT, PORT + "main CloseHandle 40 -> 1"),
    ("socket-leak", "iocp_network", SOCKET, SOCKET + "main closesocket 50 -> 0"),
    ("thread-leak", "thread_wait", THREAD + JOINED, THREAD + JOINED + "main CloseHandle 38 -> 1"),
    ("context-leak", "overlapped_plus", FILE + EVENT + READ + RESULT, FILE + EVENT + READ + RESULT + FREED),
    (
        "context-leak-at-once",
        "overlapped_plus",
        FILE + EVENT + READ.replace("0 997", "1"),
        FILE + EVENT + READ.replace("0 997", "1") + FREED,
    ),
    (
        "context-leak-refused",
        "overlapped_plus",
        FILE + EVENT + READ.replace("997", "109"),
        FILE + EVENT + READ.replace("997", "109") + FREED,
    ),
    ("memory-leak", "iocp_network", "main ! never-freed blocks=200 bytes=12800 at=140000007", FREED),
    (
        "winsock-balance",
        "iocp_network",
        "main WSAStartup 202 a -> 0",
        "main WSAStartup 202 a -> 0\nmain WSACleanup -> 0",
    ),
    (
        "closed-handle",
        "thread_wait",
        FILE + "main ! closed-handle handle=30 name=GetOverlappedResult",
        FILE + "main CloseHandle 30 -> 1",
    ),
    (
        "double-close",
        "overlapped_plus",
        FILE + "main CloseHandle 30 -> 1\nmain ! closed-handle handle=30 name=CloseHandle",
        FILE + "main CloseHandle 30 -> 1",
    ),
    ("wrong-close", "iocp_network", SOCKET + "main CloseHandle 50 -> 1", SOCKET + "main closesocket 50 -> 0"),
    ("freed-in-flight", "overlapped_plus", FILE + EVENT + READ + FREED, FILE + EVENT + READ + RESULT + FREED),
    (
        "frame-left",
        "thread_wait",
        FILE + EVENT + READ + "main ! frame-left ov=f0",
        FILE + EVENT + READ + RESULT,
    ),
    ("double-free", "overlapped_plus", FILE + READ + RESULT + FREED + "t2 ! double-free block=1", FILE + READ + FREED),
    (
        "written-after-free",
        "overlapped_plus",
        FILE + EVENT + READ + RESULT + FREED + "main ! written-after-free block=1",
        FILE + EVENT + READ + RESULT + FREED,
    ),
    ("wrong-delete", "overlapped_plus", "t2 ! mismatch block=2 made=new[] freed=delete", FREED),
    ("reused-in-flight", "iocp_files", ON_PORT + PORT_READ + PORT_READ, ON_PORT + PORT_READ + TAKEN + PORT_READ),
    ("abandoned", "four_reads", FILE + EVENT + READ, FILE + EVENT + READ + RESULT),
    ("auto-reset", "event_wait", FILE + EVENT.replace("0 1 0 0", "0 0 0 0") + READ, FILE + EVENT + READ),
    ("event-under-port", "iocp_files", ON_PORT + READ, ON_PORT + PORT_READ),
    (
        "unchecked",
        "event_wait",
        "main CreateEventW 0 1 0 0 -> 0 8\nmain WaitForSingleObject 0 10 -> ffffffff 6",
        "main CreateEventW 0 1 0 0 -> 0 8",
    ),
    ("not-zeroed", "event_wait", FILE + READ, FILE + EVENT + READ),
    (
        "waits-where-it-asked",
        "thread_wait",
        FILE + EVENT + READ + RESULT.replace("t2", "main"),
        FILE + EVENT + READ + RESULT,
    ),
    (
        "polling",
        "event_wait",
        FILE + EVENT + READ + "main@7 WaitForSingleObject 34 0 -> 102\n" * 5,
        FILE + EVENT + READ + "main@7 WaitForSingleObject 34 10 -> 102\n" * 5,
    ),
    (
        "cancel-not-awaited",
        "event_wait",
        FILE + EVENT + READ + CANCEL + RESULT.replace("c 1 ->", "c 0 ->"),
        FILE
        + EVENT
        + READ
        + CANCEL
        + "main WaitForSingleObject 34 ffffffff -> 0\n"
        + RESULT.replace("c 1 ->", "c 0 ->"),
    ),
    (
        "not-overlapped-file",
        "event_wait",
        FILE.replace("40000000", "80") + EVENT + READ + RESULT,
        FILE + EVENT + READ + RESULT,
    ),
    ("not-joined", "thread_wait", THREAD, THREAD + JOINED),
    (
        "crt-thread",
        "thread_wait",
        "main CreateThread 0 0 0 0 0 0 -> 38 0 thread=2",
        "main _beginthreadex 0 0 0 0 0 0 -> 38 0 thread=2",
    ),
    ("closed-in-flight", "thread_wait", FILE + EVENT + READ + CLOSED + RESULT, FILE + EVENT + READ + RESULT + CLOSED),
    (
        "on-the-stack",
        "overlapped_plus",
        FILE + EVENT + READ.replace("buf_in=heap:2", "buf_in=stack:1"),
        FILE + EVENT + READ,
    ),
    ("static-memory", "overlapped_plus", FILE + EVENT + READ.replace("heap:2", "static"), FILE + EVENT + READ),
    (
        "shared-buffer",
        "four_reads",
        FILE + EVENT + READ + READ.replace("f0", "f8"),
        FILE + EVENT + READ + READ.replace("f0", "f8").replace("buf=b0", "buf=c0"),
    ),
    (
        "same-offset",
        "iocp_files",
        ON_PORT + PORT_READ + PORT_READ.replace("f0", "f8"),
        ON_PORT + PORT_READ + PORT_READ.replace("f0", "f8").replace("off=0", "off=1000"),
    ),
    (
        "pool-of-one",
        "iocp_files",
        TWO_READS + FAILED + "t2 ! thread-end\n" + OTHER_TAKEN,
        TWO_READS + FAILED + STOP + "t2 ! thread-end\n" + OTHER_TAKEN,
    ),
    ("stale-output", "iocp_files", PORT + TAKEN.replace("ov_before=0", "ov_before=f0"), PORT + TAKEN),
    (
        "concurrency",
        "iocp_files",
        PORT.replace("0 0 0 ->", "0 0 1 ->") + STOP + STOP.replace("t2", "t3"),
        PORT + STOP + STOP.replace("t2", "t3"),
    ),
    ("inheritable-socket", "iocp_network", SOCKET.replace(" 81 ", " 1 "), SOCKET),
    ("backlog", "iocp_network", SOCKET + "main listen 50 5 -> 0", SOCKET + "main listen 50 7fffffff -> 0"),
    ("blocking-accept", "iocp_network", SOCKET + "main accept 50 a b -> 54", LISTENER),
    (
        "accept-context",
        "iocp_network",
        ACCEPTED + "t2 getpeername 54 a b -> 0",
        ACCEPTED + "t2 setsockopt 54 ffff 700b a 8 value=50 -> 0\nt2 getpeername 54 a b -> 0",
    ),
    ("exclusive-address", "iocp_network", SOCKET + "main bind 50 a 10 -> 0", LISTENER),
    (
        "count-pointer",
        "iocp_network",
        "t2 WSARecv 54 a 1 c d f0 0 ov=f0 -> ffffffff 997",
        "t2 WSARecv 54 a 1 0 d f0 0 ov=f0 -> ffffffff 997",
    ),
    (
        "key-is-socket",
        "iocp_network",
        PORT + "t2 CreateIoCompletionPort 54 40 54 0 -> 40",
        PORT + "t2 CreateIoCompletionPort 54 40 7f0 0 -> 40",
    ),
]


def found(program: str, text: str, *, hang: bool = False, processors: int = 0) -> dict[str, tuple[str, ...]]:
    trace = trace_of(text, ends=not hang, processors=processors)
    return {f.rule: f.errata for f in judge(trace, stage_named(program).number, program, hang=hang)}


@pytest.mark.parametrize(("rule", "program", "wrong", "right"), CASES, ids=[case[0] for case in CASES])
def test_a_rule_tells_wrong_from_right(rule: str, program: str, wrong: str, right: str) -> None:
    """The rule finds the wrong run, under the program's erratum, and not the right one."""
    assert found(program, wrong).get(rule) == ERRATA[rule][program]
    assert rule not in found(program, right)


def test_a_sleep_is_polling_only_while_something_is_in_flight() -> None:
    """Sleeping again and again while a read is pending is polling; with nothing in flight it is nobody's business."""
    sleeps = "main@7 Sleep 1 -> 0\n" * 5
    assert "polling" in found("event_wait", FILE + EVENT + READ + sleeps)
    assert "polling" not in found("event_wait", FILE + EVENT + sleeps)


def test_a_nap_of_the_server_may_be_long() -> None:
    """Where something is always in flight, a thread may look after other things now and then; often is polling."""
    for nap, unit in (("Sleep {:x}", 1), ("nanosleep f0 0 ns={:x}", MS)):
        naps = f"t2@7 {nap} -> 0\n" * 5
        assert "polling" in found("iocp_network", ON_PORT + PORT_READ + naps.format(*[100 * unit] * 5))
        assert "polling" not in found("iocp_network", ON_PORT + PORT_READ + naps.format(*[1000 * unit] * 5))
        assert "polling" in found("iocp_files", ON_PORT + PORT_READ + naps.format(*[1000 * unit] * 5))


def test_a_semaphore_of_the_library_may_nap() -> None:
    """try_acquire_for goes round in libstdc++, with ever longer naps: it is a wait for all that."""
    naps = [*[900_000] * 9, MS, MS, 3 * MS // 2, 2 * MS, 3 * MS, 6 * MS, 15 * MS, 34 * MS, *[64 * MS] * 9]
    text = "".join(f"main@7 nanosleep f0 0 ns={nap:x} -> 0\n" for nap in naps)
    assert "polling" not in found("thread_wait", FILE + EVENT + READ + text)
    assert "polling" in found("thread_wait", FILE + EVENT + READ + text + f"main@7 nanosleep f0 0 ns={MS:x} -> 0\n" * 3)


def test_whoever_asked_may_bound_the_wait() -> None:
    """The asking thread may wait as well as the other: whose wait returns first is chance. Alone it may not."""
    asked, other = (f"{thread} WaitForSingleObject 34 2710 -> 0\n" for thread in ("main", "t2"))
    assert "waits-where-it-asked" in found("thread_wait", FILE + EVENT + READ + asked)
    assert "waits-where-it-asked" not in found("thread_wait", FILE + EVENT + READ + asked + other)
    assert "waits-where-it-asked" not in found("thread_wait", FILE + EVENT + READ + other + asked)


def test_an_event_that_keeps_the_packet_away_may_be_there() -> None:
    """With its low bit set, hEvent asks for no packet: then the event is what tells of the end."""
    assert "event-under-port" in found("iocp_files", ON_PORT + READ)
    assert "event-under-port" not in found("iocp_files", ON_PORT + READ.replace("event=34", "event=35"))


def test_a_block_may_be_asked_for_again_when_it_has_failed() -> None:
    """Once a read has failed, the same offset of that file is no mistake, and of another file never."""
    assert "same-offset" not in found("iocp_files", ON_PORT + PORT_READ + FAILED + PORT_READ)
    assert "same-offset" in found("iocp_files", ON_PORT + PORT_READ + TAKEN + PORT_READ)
    of_files_opened_unseen = [PORT_READ.replace("ReadFile 30", f"ReadFile {handle}") + TAKEN for handle in ("70", "74")]
    assert "same-offset" not in found("iocp_files", ON_PORT + "".join(of_files_opened_unseen))


def test_looks_at_requests_that_are_over_are_no_polling() -> None:
    """A result that is asked for without waiting tells how a request ended, also if it failed: no look in vain."""
    result = "main@7 GetOverlappedResult 30 f0 c 0 -> 0 {}\n"
    assert "polling" in found("event_wait", FILE + EVENT + READ + result.format(996) * 5)
    assert "polling" not in found("iocp_files", ON_PORT + (PORT_READ + FAILED + result.format(38)) * 5)


def test_looks_between_waits_are_no_polling() -> None:
    """Who has waited may look whether there is more; so may who has asked for more since. Only looks are polling."""
    look = "t2@7 GetQueuedCompletionStatusEx 40 a 10 b 0 0 -> 0 258\n"
    wait = "t2 GetQueuedCompletionStatusEx 40 a 10 b ffffffff 0 -> 1 0 count=0\n"
    assert "polling" not in found("iocp_files", ON_PORT + (wait + look) * 5)
    assert "polling" not in found("iocp_network", ON_PORT + (PORT_READ.replace("main", "t2") + look) * 5)
    assert "polling" in found("iocp_files", ON_PORT + PORT_READ + look * 5)
    assert "polling" in found("iocp_files", ON_PORT + (wait.replace("t2", "t3") + look) * 5), "another thread waited"


def test_a_value_that_two_threads_close_is_two_sockets() -> None:
    """A socket's value comes back before its close has returned: each close ends the life that it can have known."""
    closed = SOCKET + "main closesocket 50\n" + SOCKET.replace("main", "t2")
    assert "socket-leak" not in found("iocp_network", closed + "t2 closesocket 50 -> 0\nmain <- 0")
    assert "socket-leak" in found("iocp_network", closed + "main <- 0"), "the second one is still open"


def test_as_many_as_there_are_processors_may_be_let_run() -> None:
    """More workers than processors are no reason to let more of them run: some may block."""
    two_of_four = PORT.replace("0 0 0 ->", "0 0 2 ->") + "".join(STOP.replace("t2", t) for t in ("main", "t2", "t3"))
    assert "concurrency" in found("iocp_files", two_of_four)
    assert "concurrency" not in found("iocp_files", two_of_four, processors=2)
    assert "concurrency" in found("iocp_files", two_of_four, processors=3)


def test_a_worker_may_end_when_nothing_is_left_or_it_has_cancelled() -> None:
    """Whoever takes the last packet may end, whatever came of it, and let a posted packet tell the others; and nobody
    needs to go on who is stopping."""
    posted = OTHER_TAKEN.replace("f8", "e0")
    for text in (
        TWO_READS + OTHER_TAKEN + FAILED + "t2 ! thread-end\n" + posted,
        TWO_READS + FAILED + OTHER_TAKEN + "t2 ! thread-end\n" + posted,  # handled in another order than taken
        TWO_READS + FAILED.replace(" 38 ", " 995 ") + "t2 ! thread-end\n" + OTHER_TAKEN,
    ):
        assert "pool-of-one" not in found("iocp_files", text)


def test_a_hang_names_the_call_that_was_outstanding() -> None:
    """When a program had to be ended, the call that had not returned is named, and the unseen request."""
    text = FILE + EVENT + READ + "main WaitForSingleObject 34 ffffffff"
    findings = judge(trace_of(text, ends=False), 1, "event_wait", hang=True)
    told = [finding.message for finding in findings if finding.rule == "hang"]
    assert any("WaitForSingleObject in main had not returned" in message for message in told)
    assert any("ReadFile in main was outstanding" in message for message in told)


def test_every_rule_is_tried() -> None:
    """No rule is without a run that it rejects and one that it accepts."""
    assert {case[0] for case in CASES} | {"hang"} == set(RULES)
