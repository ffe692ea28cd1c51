"""Rules about completion ports and the threads that take packets from them."""

from __future__ import annotations

from collections.abc import Iterator

from labkit.rules.case import Case, Sighting, rule, seen
from labkit.trace import INVALID_HANDLE
from labkit.trace_model import DEQUEUES

OPERATION_ABORTED = 995


@rule("pool-of-one")
def pool_of_one(case: Case) -> Iterator[Sighting]:
    """A worker goes on after a request that failed: only that request is over.

    It may leave when nothing is in flight any more, or after a packet that it has cancelled itself: then it is ending.
    """
    last_dequeue = {call.thread: call for call in case.trace.named(*DEQUEUES)}
    left_at = {thread.id: thread.ended for thread in case.trace.threads}
    for packet in case.trace.packets:
        request, thread = packet.request, packet.call.thread
        if packet.succeeded or request is None or packet.call.name != "GetQueuedCompletionStatus":
            continue
        if request.failed_with == OPERATION_ABORTED or last_dequeue[thread] is not packet.call:
            continue
        left = left_at.get(thread)
        if case.hang or (left is not None and case.in_flight_at(left)):
            yield seen(
                f"{case.thread_name(thread)} took the packet of a failed request and no other after it.", packet.call
            )


@rule("stale-output")
def stale_output(case: Case) -> Iterator[Sighting]:
    """The pointer that a dequeue fills is null before each call."""
    for call in case.trace.named("GetQueuedCompletionStatus"):
        if call.fact("ov_before"):
            yield seen(f"{case.told(call)} was made with what the last one had left in its OVERLAPPED pointer.", call)
            return


@rule("concurrency")
def concurrency(case: Case) -> Iterator[Sighting]:
    """The port's number leaves no processor idle while a worker could run: it says how many may."""
    made = [c for c in case.trace.named("CreateIoCompletionPort") if c.argument(0) == INVALID_HANDLE]
    workers = {call.thread for call in case.trace.named(*DEQUEUES)}
    could_run = min(len(workers), case.trace.processors or len(workers))
    for call in made:
        most = call.argument(3) & 0xFFFF_FFFF
        if most and most < could_run:
            yield seen(
                f"{case.told(call)} lets {most} threads run, and {len(workers)} take packets from the port.", call
            )
