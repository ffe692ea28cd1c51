"""Rules about threads: who waits, for what, and until when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from labkit.rules.case import Case, Sighting, rule, seen
from labkit.trace import Call
from labkit.trace_model import (
    DEQUEUES,
    RESULTS,
    SLEEPS,
    STILL_UNDER_WAY,
    WAITS_FOR_MANY,
    WAITS_FOR_ONE,
    is_submit,
)
from labkit.trace_threads import Thread

# So many looks at one thing without waiting for it are no accident.
LOOKS_THAT_ARE_POLLING = 5


def _made_by_program(case: Case) -> Iterator[Thread]:
    yield from (thread for thread in case.trace.threads if thread.created is not None)


@rule("waits-where-it-asked")
def waits_where_it_asked(case: Case) -> Iterator[Sighting]:
    """In stages 2 and 3 another thread than the one that asked waits for the read."""
    if any(call.injected for call in case.trace.calls):
        return  # a wait or a thread could not be had: then whoever is left must see the completion
    for request in case.trace.requests:
        look = request.observed
        if look is None or look is request.submit:
            continue
        # The asking thread may wait too, to bound the wait: which of the two is first to see the end is chance.
        if all(one.thread == request.submit.thread for one in request.looks):
            yield seen(
                f"{case.told(look)} waited for the read that this same thread had asked for.", look, request.submit
            )


# Where each call that can wait is told for how long; a result is told whether it waits.
TIMEOUT_ARGUMENT = (
    dict.fromkeys(WAITS_FOR_ONE, 1) | dict.fromkeys((*WAITS_FOR_MANY, *RESULTS), 3) | dict.fromkeys(DEQUEUES, 4)
)


def _waits(call: Call) -> bool:
    return call.name in TIMEOUT_ARGUMENT and call.argument(TIMEOUT_ARGUMENT[call.name]) & 0xFFFF_FFFF != 0


def _looks_in_vain(call: Call) -> bool:
    """Whether it has not waited, and what it asked about was still under way."""
    if call.name not in TIMEOUT_ARGUMENT or _waits(call) or call.is_under_way or call.injected:
        return False
    if call.name in RESULTS or call.name in DEQUEUES:  # any other failure is about something that is over
        return call.result32 == 0 and call.error in STILL_UNDER_WAY
    return call.result32 in STILL_UNDER_WAY


MS = 1_000_000  # in nanoseconds

# In stage 5 something is always in flight, and a thread may look after the idle connections now and then.
LONGEST_NAP_NS = 200 * MS

# How libstdc++'s semaphores, latches and atomics wait for a limited time: ever longer naps, each of another length,
# until they are of this one. It is no polling of the program's, which uses what the language has for waiting.
BACKOFF_NS = 64 * MS


def _nap_ns(call: Call) -> int:
    return call.fact("ns") if call.name == "nanosleep" else (call.argument(0) & 0xFFFF_FFFF) * MS


def _naps(case: Case, call: Call) -> bool:
    """Whether it lets time pass instead of waiting for what is in flight."""
    if call.name not in (*SLEEPS, "SwitchToThread"):
        return False
    if call.name == "nanosleep" and (_nap_ns(call) < MS or _nap_ns(call) == BACKOFF_NS):
        return False
    return not (case.stage == 5 and _nap_ns(call) >= LONGEST_NAP_NS) and bool(case.in_flight_at(call.begin))


@rule("polling")
def polling(case: Case) -> Iterator[Sighting]:
    """Nobody looks again and again at what could be waited for, and nobody sleeps meanwhile.

    A thread that has waited, or asked for something new, since it last looked has not been going round in vain.
    """
    looks: Counter[tuple[int, str, int, int, int]] = Counter()
    for call in case.trace.calls:
        if is_submit(call) or (_waits(call) and not call.injected):
            looks = Counter({key: count for key, count in looks.items() if key[0] != call.thread})
        if not _naps(case, call) and not _looks_in_vain(call):
            continue
        of = call.argument(1) if call.name in RESULTS else 0
        key = (call.thread, call.name, of, call.fact("ns"), call.return_address)
        looks[key] += 1
        if looks[key] == LOOKS_THAT_ARE_POLLING:
            yield seen(f"{case.told(call)} was made again and again, where one wait would do.", call)


@rule("not-joined")
def not_joined(case: Case) -> Iterator[Sighting]:
    """Every thread that was started is waited for before the program ends."""
    if case.hang or case.trace.is_full or not case.trace.ended_in_order:
        return
    waits_failed = any(call.injected for call in case.trace.named(*WAITS_FOR_ONE, "pthread_join"))
    for thread in _made_by_program(case):
        if thread.joined is None and thread.created is not None and not waits_failed and thread.id:
            yield seen(f"The thread made by {case.told(thread.created)} was not waited for.", thread.created)


@rule("crt-thread")
def crt_thread(case: Case) -> Iterator[Sighting]:
    """A thread that uses the C++ runtime is started by it: _beginthreadex or std::jthread.

    Asked in stages 2 and 3 only, whose thread prints; stages 4 and 5 leave it to the program.
    """
    for call in case.trace.named("CreateThread"):
        yield seen(f"{case.told(call)} started a thread that prints by the C++ runtime.", call)
        return


@rule("cancel-not-awaited")
def cancel_not_awaited(case: Case) -> Iterator[Sighting]:
    """After a cancel the completion is still to come, and is waited for: the cancel is a request only."""
    for request in case.trace.requests:
        look = request.observed
        if look is None or look is request.submit or look.name not in RESULTS or _waits(look):
            continue
        for cancel in case.trace.named("CancelIoEx", "CancelIo"):
            is_of_it = cancel.argument(0) == request.handle and cancel.argument(1) in (0, request.ov)
            if is_of_it and cancel.result32 and request.submit.begin < cancel.begin < look.begin:
                yield seen(
                    f"{case.told(look)} asked without waiting, after {case.told(cancel)}: "
                    "the completion may not be there.",
                    look,
                    cancel,
                )
                return
