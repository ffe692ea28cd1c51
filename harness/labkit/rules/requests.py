"""Rules about requests: how they are made, and that somebody sees each of them to its end."""

from __future__ import annotations

from collections.abc import Iterator

from labkit.rules.case import Case, Sighting, rule, seen
from labkit.trace import INVALID_HANDLE, Call
from labkit.trace_model import EVENTS, FILES, SOCKETS, Handle, Request, failed_to_make, handle_at

FILE_FLAG_OVERLAPPED = 0x4000_0000
OFFSET_MATTERS = ("ReadFile", "ReadFileEx", "WriteFile")


def _left(case: Case) -> Iterator[Request]:
    yield from (r for r in case.trace.requests if r.outcome in ("pending", "at once", "under way") and not r.observed)


@rule("abandoned")
def abandoned(case: Case) -> Iterator[Sighting]:
    """Every request is seen to its end before the program ends."""
    if case.hang or case.trace.is_full or not case.trace.ended_in_order:
        return
    for request in _left(case):
        if request.outcome != "under way":
            yield seen(
                f"The program ended, and nobody had seen the completion of {case.told(request.submit)}.",
                request.submit,
            )


@rule("hang")
def hang(case: Case) -> Iterator[Sighting]:
    """When a program hangs, what it was waiting for is named."""
    if not case.hang:
        return
    for call in case.trace.calls:
        if call.is_under_way:
            yield seen(f"It was ended while {case.told(call)} had not returned.", call)
    for request in _left(case):
        yield seen(f"It was ended while the request of {case.told(request.submit)} was outstanding.", request.submit)


@rule("reused-in-flight")
def reused_in_flight(case: Case) -> Iterator[Sighting]:
    """An OVERLAPPED is not given to a second request before the first one's completion was seen."""
    for request in case.trace.requests:
        before = request.overlaps
        if before and before.outcome != "refused" and before.is_in_flight_at(request.owned_from):
            yield seen(
                f"{case.told(request.submit)} used the OVERLAPPED of {case.told(before.submit)}, whose completion had "
                "not been seen.",
                request.submit,
                before.submit,
            )


@rule("auto-reset")
def auto_reset(case: Case) -> Iterator[Sighting]:
    """The event of a request is manual-reset."""
    told = set()
    for request in case.trace.requests:
        event = handle_at(case.trace, request.event, request.submit.begin) if request.event else None
        if event is None or event.kind != "event" or event in told:
            continue
        told.add(event)
        if not _is_manual_reset(event.created):
            yield seen(
                f"{event.created.name} made an auto-reset event, and {case.told(request.submit)} was given it.",
                event.created,
                request.submit,
            )


def _is_manual_reset(call: Call) -> bool:
    if call.name == "WSACreateEvent":
        return True
    if call.name.startswith("CreateEventEx"):
        return bool(call.argument(2) & 1)  # CREATE_EVENT_MANUAL_RESET
    return bool(call.argument(1) & 0xFFFF_FFFF)


@rule("event-under-port")
def event_under_port(case: Case) -> Iterator[Sighting]:
    """A request whose packet tells of its completion has no event."""
    for request in case.trace.requests:
        if request.on_port and request.event and not request.wants_no_packet:
            yield seen(f"{case.told(request.submit)} was given an event, though its file is on a port.", request.submit)
            return


@rule("unchecked")
def unchecked(case: Case) -> Iterator[Sighting]:
    """What a failed call returned is not used."""
    for failed in case.trace.calls:
        if failed.name not in (*EVENTS, *FILES, *SOCKETS, "CreateIoCompletionPort") or not failed_to_make(failed):
            continue
        none = INVALID_HANDLE if failed.name in (*FILES, *SOCKETS) else 0
        for later in case.trace.calls:
            if later.begin > (failed.end or 0) and later.thread == failed.thread and _uses(later, failed, none):
                yield seen(
                    f"{case.told(failed)} failed with {failed.error}, and {later.name} was made with what it returned.",
                    failed,
                    later,
                )
                break


def _uses(later: Call, failed: Call, none: int) -> bool:
    if failed.name in EVENTS:
        waits = later.name.startswith("WaitFor") and later.argument(0) == none
        asks = later.fact("ov") != 0 and "event" in later.facts and later.fact("event") == none
        return waits or asks
    if failed.name == "CreateIoCompletionPort":
        return later.name.startswith(("GetQueued", "PostQueued")) and later.argument(0) == none
    names = ("ReadFile", "CloseHandle", "closesocket", "bind", "listen", "WSARecv", "GetOverlappedResult")
    return later.name in names and later.argument(0) == none


@rule("not-zeroed")
def not_zeroed(case: Case) -> Iterator[Sighting]:
    """An OVERLAPPED is zeroed before it is used: a socket's has no offset, and no event that nobody made."""
    for request in case.trace.requests:
        of_socket = request.submit.name not in OFFSET_MATTERS
        stray = request.event and not case.trace.handles_by_value.get(request.event)
        if (of_socket and request.offset) or stray:
            yield seen(
                f"{case.told(request.submit)} was given an OVERLAPPED that had not been zeroed: offset "
                f"{request.offset:x}, event {request.event:x}.",
                request.submit,
            )
            return


@rule("closed-in-flight")
def closed_in_flight(case: Case) -> Iterator[Sighting]:
    """A file is closed after the completions of its requests were seen."""
    for handle in case.trace.handles:
        if handle.kind not in ("file", "socket") or handle.closed is None or handle.dead is None:
            continue
        for request in case.requests_of(handle):
            if not request.is_in_flight_at(handle.dead):
                continue
            # On a port closing is a way to cancel, as long as somebody takes the packet.
            if request.on_port and request.observed:
                continue
            if request.submit.name == "AcceptEx" or request.outcome == "refused":
                continue
            yield seen(
                f"{case.told(handle.closed)} closed the {handle.kind} while the request of "
                f"{case.told(request.submit)} was in flight.",
                handle.closed,
                request.submit,
            )


@rule("on-the-stack")
def on_the_stack(case: Case) -> Iterator[Sighting]:
    """A context that outlives the function that made it is on the heap."""
    for request in case.trace.requests:
        parts = [("OVERLAPPED", request.ov_in), ("buffer", request.buffer_in)]
        found = [name for name, where in parts if where.startswith("stack")]
        if found and request.submit.name != "AcceptEx":
            yield seen(f"{case.told(request.submit)} was given an {found[0]} on the stack.", request.submit)
            return


@rule("static-memory")
def static_memory(case: Case) -> Iterator[Sighting]:
    """Each request has a context and a buffer of its own; a variable of the whole program would be everybody's."""
    for request in case.trace.requests:
        parts = [("OVERLAPPED", request.ov_in), ("buffer", request.buffer_in)]
        found = [name for name, where in parts if where == "static"]
        if found:
            yield seen(f"{case.told(request.submit)} was given a static {found[0]}.", request.submit)
            return


@rule("shared-buffer")
def shared_buffer(case: Case) -> Iterator[Sighting]:
    """Two requests in flight do not share a buffer."""
    requests = [r for r in case.trace.requests if r.outcome != "refused" and r.buffer and r.length]
    latest: dict[int, Request] = {}
    for request in requests:
        before = latest.get(request.buffer)
        if before and before.ov != request.ov and before.is_in_flight_at(request.submit.begin):
            yield seen(
                f"{case.told(request.submit)} was given the buffer that {case.told(before.submit)} still reads into.",
                request.submit,
                before.submit,
            )
        latest[request.buffer] = request


@rule("same-offset")
def same_offset(case: Case) -> Iterator[Sighting]:
    """Each block of a file is asked for once, at its own offset; again only after the read of it has failed."""
    asked: dict[tuple[Handle | int, int], Request] = {}
    for request in case.trace.requests:
        handle = handle_at(case.trace, request.handle, request.submit.begin)
        is_pipe = handle is not None and "pipe" in handle.created.facts.get("path", "").lower()
        if request.submit.name not in OFFSET_MATTERS or is_pipe or request.outcome == "refused":
            continue
        file = handle or request.handle  # one that we have not seen opened is known by its value
        before = asked.get((file, request.offset))
        asked[file, request.offset] = request
        has_failed = before is not None and bool(before.failed_with) and not before.is_in_flight_at(request.owned_from)
        if before is not None and not has_failed:
            yield seen(
                f"{case.told(request.submit)} asked for offset {request.offset} of a file a second time.",
                request.submit,
                before.submit,
            )
            return


@rule("count-pointer")
def count_pointer(case: Case) -> Iterator[Sighting]:
    """With an OVERLAPPED, a socket's byte count is asked for later: the pointer to it is null."""
    for call in case.trace.named("WSARecv", "WSASend"):
        if call.fact("ov") and call.argument(3):
            yield seen(f"{case.told(call)} was given a pointer for the byte count beside its OVERLAPPED.", call)
            return


@rule("not-overlapped-file")
def not_overlapped_file(case: Case) -> Iterator[Sighting]:
    """A file whose requests are to be overlapped is opened with FILE_FLAG_OVERLAPPED."""
    for request in case.trace.requests:
        handle = handle_at(case.trace, request.handle, request.submit.begin)
        opened = handle.created if handle else None
        if opened and opened.name in ("CreateFileA", "CreateFileW") and not opened.argument(5) & FILE_FLAG_OVERLAPPED:
            yield seen(
                f"{case.told(request.submit)} was given an OVERLAPPED, but {case.told(opened)} had opened the file "
                "without FILE_FLAG_OVERLAPPED: such a read never pends.",
                opened,
                request.submit,
            )
            return
