"""What the calls of a trace mean together: handles with their lifetimes, requests and who owned them when.

Every "when" is a place in Trace.entries. A `call` line is written before the function runs and its `done` after it has
returned, so that a thing which one call makes and another uses is always seen in that order, whatever the threads do.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Literal

from labkit.trace import INVALID_HANDLE, Call, Trace

EVENTS = ("CreateEventA", "CreateEventW", "CreateEventExA", "CreateEventExW", "WSACreateEvent")
FILES = ("CreateFileA", "CreateFileW", "CreateNamedPipeA", "CreateNamedPipeW")
SOCKETS = ("socket", "WSASocketA", "WSASocketW", "accept", "WSAAccept")
WIN32_THREADS = ("CreateThread", "_beginthreadex")
CLOSES = ("CloseHandle", "closesocket", "WSACloseEvent")
WAITS_FOR_ONE = ("WaitForSingleObject", "WaitForSingleObjectEx")
WAITS_FOR_MANY = ("WaitForMultipleObjects", "WaitForMultipleObjectsEx", "WSAWaitForMultipleEvents")
SLEEPS = ("Sleep", "SleepEx", "nanosleep")
RESULTS = ("GetOverlappedResult", "GetOverlappedResultEx", "WSAGetOverlappedResult")
DEQUEUES = ("GetQueuedCompletionStatus", "GetQueuedCompletionStatusEx")
WINSOCK_SUBMITS = ("WSARecv", "WSASend")

ERROR_INVALID_HANDLE = 6
ERROR_INVALID_PARAMETER = 87
STILL_UNDER_WAY = (258, 192, 996)  # WAIT_TIMEOUT, WAIT_IO_COMPLETION, ERROR_IO_INCOMPLETE
ERROR_IO_PENDING = 997
MORE_DATA = 234
SKIP_ON_SUCCESS = 1


def failed_to_make(call: Call) -> bool:
    """Whether a call that makes a handle has failed."""
    return not call.is_under_way and call.result in (0, INVALID_HANDLE, 0xFFFF_FFFF)


# ---------------------------------------------------------------- handles


@dataclass(eq=False)
class Handle:
    """One life of a handle: its value may come back for something else after it was closed."""

    value: int
    kind: Literal["event", "thread", "file", "socket", "port"]
    created: Call
    born: int
    closed: Call | None = None
    dead: int | None = None  # where its close began; also where its value was seen again (closed out of our sight)
    associations: list[Call] = field(default_factory=list)  # with a completion port

    def lives_at(self, at: int) -> bool:
        return self.born <= at and (self.dead is None or at <= self.dead)


def _made(call: Call) -> Literal["event", "thread", "file", "socket", "port"] | None:
    if failed_to_make(call):
        return None
    for names, kind in ((EVENTS, "event"), (FILES, "file"), (SOCKETS, "socket"), (WIN32_THREADS, "thread")):
        if call.name in names:
            return kind  # type: ignore[return-value]
    if call.name == "CreateIoCompletionPort" and call.argument(1) == 0:
        return "port"
    return None


def handles_of(trace: Trace) -> list[Handle]:
    """Every handle that the program made, in order."""
    handles: list[Handle] = []
    alive: dict[int, list[Handle]] = defaultdict(list)
    closing: dict[int, int] = defaultdict(int)  # closes under way, by the value
    for at, entry in enumerate(trace.entries):
        call = entry.call
        if call is None:
            continue
        if call.name in CLOSES:
            value = call.argument(0)
            closing[value] += 1 if entry.kind == "call" else -1
            succeeded = call.result32 == 0 if call.name == "closesocket" else call.result32 != 0
            if entry.kind == "done" and succeeded:
                # The newest that this call can have known of: the value is free for another thread's handle as soon as
                # the system has closed it, which is before the close has returned.
                closed = next((handle for handle in reversed(alive[value]) if handle.born < call.begin), None)
                if closed:
                    closed.closed, closed.dead = call, call.begin
                    alive[value].remove(closed)
        elif entry.kind == "done":
            if call.name == "CreateIoCompletionPort" and not failed_to_make(call):
                for handle in alive[call.argument(0)]:
                    handle.associations.append(call)
            if kind := _made(call):
                made = Handle(call.result or 0, kind, call, at)
                if alive[made.value] and not closing[made.value]:
                    alive[made.value].pop(0).dead = at
                alive[made.value].append(made)
                handles.append(made)
    return handles


def handle_at(trace: Trace, value: int, at: int) -> Handle | None:
    """What the value stood for at that place."""
    lives = trace.handles_by_value.get(value, [])
    return next((handle for handle in reversed(lives) if handle.lives_at(at)), None)


# ---------------------------------------------------------------- waits


def waited_for(call: Call) -> tuple[int, ...]:
    """The handles that a wait asks about."""
    if call.name in WAITS_FOR_ONE:
        return (call.argument(0),)
    if call.name in WAITS_FOR_MANY:
        return tuple(int(text, 16) for text in call.facts.get("handles", "").split(",") if text)
    return ()


def signalled(call: Call) -> tuple[int, ...]:
    """The handles that a wait found signalled."""
    handles = waited_for(call)
    index = call.result32 & ~0x80  # 0x80: an abandoned mutex
    if call.is_under_way or index >= len(handles) or call.result32 == 0xC0:  # WAIT_IO_COMPLETION
        return ()
    return handles if call.name in WAITS_FOR_MANY and call.argument(2) & 0xFF else (handles[index],)


# ---------------------------------------------------------------- requests


@dataclass(eq=False)
class Request:
    """One use of an OVERLAPPED: from the call that hands it to the kernel until its completion was observed."""

    submit: Call
    ov: int
    generation: int  # how often this address was submitted, from 1
    handle: int
    on_port: bool
    skips_packet: bool = False  # on its handle a request done at once queues no packet
    outcome: Literal["under way", "at once", "pending", "refused"] = "under way"
    observed: Call | None = None  # the first call that found it complete; the submit itself if it was done at once
    observed_at: int | None = None
    looks: list[Call] = field(default_factory=list)  # every call that found it complete, the submit itself excepted
    dequeued: Call | None = None  # the call that has taken its packet
    overlaps: Request | None = None  # the request that was in flight on the same OVERLAPPED when this was submitted
    failed_with: int | None = None  # as the first look told; 0: it succeeded

    @property
    def event(self) -> int:
        return self.submit.fact("event") & ~1

    @property
    def wants_no_packet(self) -> bool:
        """The low bit of hEvent suppresses the packet."""
        return bool(self.submit.fact("event") & 1)

    @property
    def buffer(self) -> int:
        return self.submit.fact("buf")

    @property
    def length(self) -> int:
        return self.submit.fact("len")

    @property
    def offset(self) -> int:
        return self.submit.fact("off")

    @property
    def ov_in(self) -> str:
        return self.submit.facts.get("ov_in", "other")

    @property
    def buffer_in(self) -> str:
        return self.submit.facts.get("buf_in", "other")

    @functools.cached_property
    def blocks(self) -> set[str]:
        """The ids of the heap blocks that it uses."""
        return {where.removeprefix("heap:") for where in (self.ov_in, self.buffer_in) if where.startswith("heap:")}

    @property
    def owned_from(self) -> int:
        return self.submit.begin

    @property
    def owned_until(self) -> int | None:
        """Where the kernel's ownership ends; None: never in this trace."""
        return self.submit.end if self.outcome == "refused" else self.observed_at

    def is_in_flight_at(self, at: int) -> bool:
        return self.owned_from <= at and (self.owned_until is None or at < self.owned_until)


@dataclass(eq=False)
class Packet:
    """One packet that a dequeue has brought."""

    call: Call
    key: int
    ov: int  # 0: a posted one
    bytes: int
    succeeded: bool
    request: Request | None = None  # None: posted, or not known


def _taken(call: Call, number: str, succeeded: bool, error: int | None) -> tuple[Packet, int | None]:
    """One packet of a dequeue's `done`, and what it failed with."""
    key, ov, count = (call.came_fact(name + number) for name in ("key", "ov", "bytes"))
    return Packet(call, key, ov, count, succeeded), error


def is_submit(call: Call) -> bool:
    return call.fact("ov") != 0


def outcome_of(call: Call) -> Literal["under way", "at once", "pending", "refused"]:
    """Which of the three things a submit's return has said."""
    if call.is_under_way:
        return "under way"
    if call.name in ("ReadFileEx", "WriteFileEx"):
        return "pending" if call.result32 else "refused"
    done = call.result32 == 0 if call.name in WINSOCK_SUBMITS else call.result32 != 0
    if done or call.error == MORE_DATA:
        return "at once"
    return "pending" if call.error == ERROR_IO_PENDING else "refused"


class _Ownership:
    """Goes through a trace in order and keeps which requests are in flight."""

    def __init__(self, trace: Trace) -> None:
        self.requests: list[Request] = []
        self.packets: list[Packet] = []
        self._in_flight: dict[int, list[Request]] = defaultdict(list)  # by OVERLAPPED
        self._latest: dict[int, Request] = {}
        self._by_seq: dict[int, Request] = {}
        self._on_port: set[int] = set()
        self._skips: set[int] = set()
        for at, entry in enumerate(trace.entries):
            if entry.kind == "call" and entry.call:
                self._begun(entry.call)
            elif entry.kind == "done" and entry.call:
                self._returned(entry.call, at)

    def _begun(self, call: Call) -> None:
        if call.name in CLOSES:
            self._on_port.discard(call.argument(0))
            self._skips.discard(call.argument(0))
        if not is_submit(call):
            return
        ov = call.fact("ov")
        before = self._latest.get(ov)
        request = Request(call, ov, before.generation + 1 if before else 1, call.argument(0), False)
        request.on_port = request.handle in self._on_port
        request.skips_packet = request.handle in self._skips
        request.overlaps = next(iter(self._in_flight[ov]), None)
        self._in_flight[ov].append(request)
        self._latest[ov] = self._by_seq[call.seq] = request
        self.requests.append(request)

    def _returned(self, call: Call, at: int) -> None:
        if call.name == "CreateIoCompletionPort" and not failed_to_make(call):
            self._on_port.add(call.argument(0))
        elif call.name == "SetFileCompletionNotificationModes" and call.result32 and call.argument(1) & SKIP_ON_SUCCESS:
            self._skips.add(call.argument(0))
        elif call.seq in self._by_seq:
            self._submitted(self._by_seq[call.seq], at)
        elif call.name in RESULTS:
            self._result(call, at)
        elif call.name in DEQUEUES:
            self._dequeued(call, at)
        else:
            self._waited(call, at)

    def _submitted(self, request: Request, at: int) -> None:
        call = request.submit
        request.outcome = outcome_of(call)
        comes_by_packet = request.on_port and not request.wants_no_packet and not request.skips_packet
        if request.outcome == "refused":
            self._remove(request)
        elif request.outcome == "at once" and not comes_by_packet and request.observed is None:
            request.observed, request.observed_at = call, at
            self._remove(request)

    def _remove(self, request: Request) -> None:
        if request in self._in_flight[request.ov]:
            self._in_flight[request.ov].remove(request)

    def _looked(self, request: Request, call: Call, at: int, failed_with: int | None) -> None:
        request.looks.append(call)
        if request.failed_with is None:
            request.failed_with = failed_with
        if request.observed is None:
            request.observed, request.observed_at = call, at
        self._remove(request)

    def _of(self, ov: int) -> Request | None:
        """The request of an OVERLAPPED that a call speaks of: the oldest in flight, or the last there was."""
        return next(iter(self._in_flight[ov]), None) or self._latest.get(ov)

    def _result(self, call: Call, at: int) -> None:
        succeeded = call.result32 != 0
        unfinished = call.error in STILL_UNDER_WAY or (call.error == ERROR_INVALID_HANDLE and not call.injected)
        request = self._of(call.argument(1))
        if request and (succeeded or not unfinished):
            self._looked(request, call, at, 0 if succeeded else call.error)

    def _dequeued(self, call: Call, at: int) -> None:
        packets = []
        if call.name == "GetQueuedCompletionStatus":
            # Else nothing was taken, least of all by a call that was failed instead of made.
            if call.result32 or (call.came_fact("ov") and call.injected != "fail"):
                packets = [_taken(call, "", call.result32 != 0, call.error)]
        elif call.result32:
            for i in range(call.came_fact("count")):
                status = call.came_fact(f"status{i}")
                packets.append(_taken(call, str(i), status < 0x8000_0000, status))
        for packet, error in packets:
            packet.request = self._of(packet.ov) if packet.ov else None
            self.packets.append(packet)
            if packet.request:
                packet.request.dequeued = packet.request.dequeued or call
                self._looked(packet.request, call, at, 0 if packet.succeeded else error)

    def _waited(self, call: Call, at: int) -> None:
        found = signalled(call)
        for request in list(self._latest.values()) if found else ():
            if request.event and request.event in found and request.outcome != "refused":
                self._looked(request, call, at, None)
        for value in found:  # a request without an event signals its file, which says no more than "one of them"
            of_file = [r for group in self._in_flight.values() for r in group if r.handle == value and not r.event]
            if len(of_file) == 1:
                self._looked(of_file[0], call, at, None)
        if call.result32 == 0xC0:  # WAIT_IO_COMPLETION: this thread's completion routines have run
            for request in [r for group in self._in_flight.values() for r in group]:
                by_routine = request.submit.name.endswith("FileEx") or request.submit.name in WINSOCK_SUBMITS
                if by_routine and request.submit.thread == call.thread and not request.on_port:
                    self._looked(request, call, at, None)


def ownership_of(trace: Trace) -> tuple[list[Request], list[Packet]]:
    """Every request in the order of submitting, and every packet in the order of taking."""
    ownership = _Ownership(trace)
    return ownership.requests, ownership.packets
