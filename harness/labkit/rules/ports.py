"""Rules about completion ports and the threads that take packets from them."""

from __future__ import annotations

from collections.abc import Iterator

from labkit.rules.case import Case, Sighting, rule, seen
from labkit.trace import INVALID_HANDLE
from labkit.trace_model import DEQUEUES


@rule("pool-of-one")
def pool_of_one(case: Case) -> Iterator[Sighting]:
    """A worker goes on after a request that failed: only that request is over."""
    last_of_thread = {call.thread: call.begin for call in case.trace.named(*DEQUEUES)}
    # Of requests only: a posted packet may be the sign to end, also one with an OVERLAPPED.
    last_of_a_request = max((packet.call.begin for packet in case.trace.packets if packet.request), default=0)
    for packet in case.trace.packets:
        if packet.succeeded or not packet.ov or packet.call.name != "GetQueuedCompletionStatus":
            continue
        taken = packet.call.begin
        if last_of_thread[packet.call.thread] == taken and (case.hang or last_of_a_request > taken):
            yield seen(
                f"{case.thread_name(packet.call.thread)} took the packet of a failed request and no other after it.",
                packet.call,
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
