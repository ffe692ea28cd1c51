"""Rules about what a program that ended in order has left behind."""

from __future__ import annotations

from collections.abc import Iterator

from labkit.rules.case import Case, Sighting, rule, seen
from labkit.trace_model import Handle, Request


def _left_open(case: Case, kind: str) -> Iterator[Handle]:
    if case.has_ended:
        yield from (handle for handle in case.trace.handles if handle.kind == kind and handle.dead is None)


def _leaks(case: Case, kind: str, noun: str) -> Iterator[Sighting]:
    for handle in _left_open(case, kind):
        message = f"{noun} {handle.value:x}, made by {case.told(handle.created)}, was never closed."
        yield seen(message, handle.created)


@rule("event-leak")
def event_leak(case: Case) -> Iterator[Sighting]:
    """Every event is closed."""
    yield from _leaks(case, "event", "The event")


@rule("file-leak")
def file_leak(case: Case) -> Iterator[Sighting]:
    """Every file and pipe is closed."""
    yield from _leaks(case, "file", "The file")


@rule("port-leak")
def port_leak(case: Case) -> Iterator[Sighting]:
    """Every completion port is closed."""
    yield from _leaks(case, "port", "The completion port")


@rule("socket-leak")
def socket_leak(case: Case) -> Iterator[Sighting]:
    """Every socket is closed."""
    yield from _leaks(case, "socket", "The socket")


@rule("thread-leak")
def thread_leak(case: Case) -> Iterator[Sighting]:
    """Every thread's handle is closed, and every pthread is joined or detached."""
    yield from _leaks(case, "thread", "The thread's handle")
    if case.has_ended:
        for thread in case.trace.threads:
            by_pthread = thread.created is not None and thread.created.name == "pthread_create"
            # Its id must be known, or a join could not have been seen.
            if thread.created and by_pthread and thread.id and thread.joined is None and not thread.detached:
                yield seen(
                    f"The thread made by {case.told(thread.created)} was neither joined nor detached.", thread.created
                )


def _never_freed(case: Case) -> Iterator[tuple[str, Request, str]]:
    """The heap blocks that were never freed, each with the last request that used it."""
    if not case.has_ended:
        return
    freed = {note.facts.get("block", "") for note in case.trace.notes if note.word == "free"}
    last_use = {block: request for request in case.trace.requests for block in sorted(request.blocks)}
    for block, request in last_use.items():
        if block not in freed:
            is_context = request.ov_in == f"heap:{block}"
            yield block, request, "The context" if is_context else "The buffer"


@rule("context-leak")
def context_leak(case: Case) -> Iterator[Sighting]:
    """What a request used is freed after its completion was seen."""
    for _, request, noun in _never_freed(case):
        if request.outcome in ("pending", "under way") or (request.outcome == "at once" and request.dequeued):
            how = f"seen complete by {case.told(request.observed)}" if request.observed else "never seen complete"
            yield seen(
                f"{noun} of the request made by {case.told(request.submit)} was never freed; it was {how}.",
                request.submit,
                *([request.observed] if request.observed else []),
            )


@rule("context-leak-at-once")
def context_leak_at_once(case: Case) -> Iterator[Sighting]:
    """What a request used is freed when it was done at once, too."""
    for _, request, noun in _never_freed(case):
        if request.outcome == "at once" and not request.dequeued:
            yield seen(
                f"{noun} of the request that {case.told(request.submit)} completed at once was never freed.",
                request.submit,
            )


@rule("context-leak-refused")
def context_leak_refused(case: Case) -> Iterator[Sighting]:
    """What a request would have used is freed when the request is refused."""
    for _, request, noun in _never_freed(case):
        if request.outcome == "refused":
            yield seen(
                f"{noun} of the request that {case.told(request.submit)} had refused (error "
                f"{request.submit.error}) was never freed.",
                request.submit,
            )


@rule("memory-leak")
def memory_leak(case: Case) -> Iterator[Sighting]:
    """What is taken for each client or message is given back: else a server that serves for days runs out of memory."""
    for note in case.trace.notes if case.has_ended else ():
        if note.word == "never-freed":
            blocks, taken = note.facts.get("blocks", "?"), note.facts.get("bytes", "?")
            yield seen(f"{blocks} blocks of memory from one place, {taken} bytes in all, were never freed.", note)


@rule("winsock-balance")
def winsock_balance(case: Case) -> Iterator[Sighting]:
    """Every WSAStartup that succeeded is followed by its WSACleanup."""
    started = [call for call in case.trace.named("WSAStartup") if not call.is_under_way and call.result32 == 0]
    ended = [call for call in case.trace.named("WSACleanup") if call.is_under_way or call.result32 == 0]
    if case.has_ended and len(started) > len(ended):
        yield seen(f"{case.told(started[-1])} was never followed by WSACleanup.", started[-1])
