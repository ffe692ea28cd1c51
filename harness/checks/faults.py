"""Failing each call once: a run is recorded, and made again for every Win32 call in it, with just that call failing."""

import os
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from labkit import judgement, subject
from labkit.contract import SUFFIX, call_errors
from labkit.errors import HarnessError, Rejected
from labkit.program import Run
from labkit.source_lines import SourceLines
from labkit.trace import Call, read_trace
from labkit.verdict import reasons, reject, reject_unless

THREAD_STARTERS = ("CreateThread", "_beginthreadex", "pthread_create")
RESULTS = ("GetOverlappedResult", "WSAGetOverlappedResult")

# Which calls are made to fail, by their names without A, W and Ex, and with which code. CONTRACT.md tells students.
CODES = {
    "CreateFile": 5,  # access denied
    "CreateEvent": 8,  # not enough memory
    "WSACreateEvent": 8,
    "CreateThread": 8,
    "_beginthreadex": 8,
    "pthread_create": 8,
    "CreateIoCompletionPort": 8,
    "ReadFile": 1450,  # insufficient system resources
    "WaitForSingleObject": 6,  # invalid handle
    "WaitForMultipleObjects": 6,
    "GetOverlappedResult": 1117,  # I/O device error
    "WSAGetOverlappedResult": 1117,
    "CancelIo": 6,
    "GetQueuedCompletionStatus": 8,
    "PostQueuedCompletionStatus": 8,
    "WSAStartup": 10091,  # the network is not ready
    "WSASocket": 10055,  # no buffer space
    "socket": 10055,
    "bind": 10055,
    "listen": 10055,
    "setsockopt": 10055,
    "WSAIoctl": 10055,
    "Accept": 10055,  # AcceptEx
    "WSARecv": 10055,
    "WSASend": 10055,
    "recv": 10055,
    "send": 10055,
}

# What a failure that is handled wrongly belongs to, by the program.
ERRATA = {
    "event_wait": {"CreateFile": "E4", "CreateEvent": "E5", "ReadFile": "E3", "GetOverlappedResult": "E7", "": "E8"},
    "thread_wait": {"CreateFile": "E4", "CreateEvent": "E5", "ReadFile": "E3", "thread": "T10", "": "T14"},
    "overlapped_plus": {"CreateFile": "E4", "CreateEvent": "E5", "ReadFile": "P4", "thread": "T10", "": "T14"},
    "four_reads": {"CreateFile": "F7", "": "F3"},
    "iocp_files": {
        "CreateFile": "F7",
        "ReadFile": "F22",
        "CreateIoCompletionPort": "F16",
        "thread": "F25",
        "PostQueuedCompletionStatus": "F19",
        "": "F13",
    },
    "iocp_network": {
        "thread": "N33",
        "CreateIoCompletionPort": "N22",
        "Accept": "N21",
        "WSARecv": "N16",
        "WSASend": "N16",
        "GetQueuedCompletionStatus": "N12",
        "PostQueuedCompletionStatus": "N28",
        "": "N23",
    },
}


@dataclass(frozen=True)
class Fault:
    """One call of a run, to be failed in another."""

    name: str  # as exported
    occurrence: int  # among the calls of that name, from 1
    where: str  # its source line
    offset: int = 0  # where in the program it was called from

    @property
    def call(self) -> str:
        """Its name as programs report it."""
        return SUFFIX.sub("", self.name)

    @property
    def code(self) -> int:
        return CODES[self.call]

    @property
    def inject(self) -> str:
        return f"{self.name} {self.occurrence} fail {self.code}"

    def __str__(self) -> str:
        return f"{self.name} no. {self.occurrence}{' at ' + self.where if self.where else ''} fails with {self.code}"


def errata_for(program: str, fault: Fault) -> tuple[str, ...]:
    table = ERRATA[program]
    names = [table.get("thread" if fault.call in THREAD_STARTERS else fault.call, table[""])]
    if fault.call == "CreateIoCompletionPort" and program == "iocp_files":
        names = ["F16" if fault.occurrence == 1 else "F17"]
    return tuple(names)


def calls_to_fail(run: Run) -> list[Fault]:
    """Every call that the program's own source makes, first to last."""
    recording = subject.current()
    if recording is None or run.trace is None:
        raise HarnessError("calls can be failed only in a program that was built with the probe")
    trace = read_trace(run.trace)
    lines = SourceLines(recording.subject.executable, trace.base)
    lines.learn(call.return_address for call in trace.calls)
    seen: Counter[str] = Counter()
    found = []
    for call in trace.calls:
        seen[call.name] += 1
        where = lines.line(call.return_address)
        if is_failable(call, where):
            found.append(Fault(call.name, seen[call.name], where, call.return_address - trace.base))
    reject_unless(bool(found), run, expected="Win32 calls, each of which may fail", came="none was made")
    return found


# The options that a server cannot do without, by level and name; others are tuning, and may fail unsaid.
NEEDED_OPTIONS = (
    (0xFFFF, 0xFFFF_FFFB),  # SOL_SOCKET, SO_EXCLUSIVEADDRUSE
    (0xFFFF, 0x700B),  # SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT
    (41, 27),  # IPPROTO_IPV6, IPV6_V6ONLY
)


GET_EXTENSION_FUNCTION = 0xC800_0006  # SIO_GET_EXTENSION_FUNCTION_POINTER; other WSAIoctl are tuning, too


def is_failable(call: Call, where: str) -> bool:
    """Calls without a source line are the runtime library's own, but for the one that starts its threads."""
    if call.name == "setsockopt":
        option = (call.argument(1) & 0xFFFF_FFFF, call.argument(2) & 0xFFFF_FFFF)
        return bool(where) and option in NEEDED_OPTIONS
    if call.name == "WSAIoctl" and call.argument(1) & 0xFFFF_FFFF != GET_EXTENSION_FUNCTION:
        return False
    return SUFFIX.sub("", call.name) in CODES and (bool(where) or call.name == "pthread_create")


def was_hit(run: Run) -> bool:
    """Whether the fault came about: in another run the call may not be made."""
    return run.trace is not None and run.trace.exists() and any(c.injected for c in read_trace(run.trace).calls)


# Two threads may make their calls of one name in another order than in the recorded run: then it is tried again.
MOST_TRIES = 5


def strike(call: Call, of: Run, inject: str, again: Callable[[str], Run]) -> Run | None:
    """Makes the run `of` again, doing to that call what `inject` says. None: it never came about at that place."""
    assert of.trace is not None
    recorded = read_trace(of.trace)
    occurrence = [one.seq for one in recorded.named(call.name)].index(call.seq) + 1
    fault = Fault(call.name, occurrence, "", call.return_address - recorded.base)
    for _ in range(MOST_TRIES):
        run = again(f"{fault.name} {fault.occurrence} {inject}")
        if was_hit(run) and not _struck_elsewhere(run, fault):
            return run
        if run.ended_because:
            return None  # and so would the others
    return None


def _struck_elsewhere(run: Run, fault: Fault) -> bool:
    """Whether the fault came about at another call than the recorded one."""
    if run.trace is None or not run.trace.exists():
        return False
    trace = read_trace(run.trace)
    return any(call.injected and call.return_address - trace.base != fault.offset for call in trace.calls)


def fail_each(program: str, faults: Iterable[Fault], again: Callable[[Fault], Run]) -> tuple[int, int]:
    """Makes the run once for each fault; `again` makes it and rejects what it alone can see. Returns how many calls
    were to be failed, and how many were."""
    faults = list(faults)
    if not faults:
        raise HarnessError("no call was found that could be failed")
    with ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as pool:  # a run waits as often as it works
        try:
            hits = list(pool.map(lambda fault: _judge(program, fault, again), faults))
        except BaseException:
            pool.shutdown(cancel_futures=True)  # one verdict is enough: the others are not waited for
            raise
    if not any(hits):
        raise HarnessError("no call was failed: the probe did not do what it was asked")
    return len(faults), sum(hits)


def _judge(program: str, fault: Fault, again: Callable[[Fault], Run]) -> bool:
    errata = errata_for(program, fault)
    try:
        run = again(fault)
        for _ in range(MOST_TRIES - 1):
            if not _struck_elsewhere(run, fault):
                break
            run = again(fault)
    except Rejected as rejected:
        raise Rejected([("failed", str(fault)), *rejected.rows], [*errata, *rejected.errata], rejected.trace) from None
    recording = subject.current()
    assert recording is not None
    record = next(record for record in recording.runs if record.trace == run.trace)
    if found := judgement.findings_in(recording.subject, record):  # they are shown together with their run's picture
        if any(finding.errata for finding, _ in found):  # which say why themselves
            errata = ()
        raise Rejected([("asked", f"{run.command}  ({fault})"), *reasons(errata)], errata, record.trace)
    return was_hit(run)


def expect_reported(run: Run, fault: Fault, errata: tuple[str, ...]) -> None:
    """The call that failed is named on stderr with its code, and the exit code is 1."""
    reject_unless(
        not run.ended_because, run, expected="the program ends", came=run.ended_because, errata=errata, asked=str(fault)
    )
    if not was_hit(run):
        return
    named = call_errors(run)
    if fault.call in THREAD_STARTERS:  # its name and its code are free
        holds = bool(run.error_lines)
    elif fault.call in RESULTS:  # a completion that failed: naming it on stderr is free
        holds = True
    else:
        holds = any(error.call == fault.call and error.code == fault.code for error in named)
    if not holds:
        wanted = f"on stderr: error : {fault.call} : {fault.code} : ..."
        reject(run, expected=wanted, came=run.stderr.strip() or "nothing", errata=errata, asked=str(fault))
    reject_unless(
        run.exit_code == 1,
        run,
        expected="exit code 1",
        came=f"exit code {run.exit_code}",
        errata=errata,
        asked=str(fault),
    )
