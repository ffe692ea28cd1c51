"""The threads of a trace: who made them, when they ran, and who has waited for their end."""

from __future__ import annotations

from dataclasses import dataclass

from labkit.trace import Call, Trace
from labkit.trace_model import WIN32_THREADS, Handle, failed_to_make, handle_at, signalled


@dataclass(eq=False)
class Thread:
    id: int  # 0: not known
    created: Call | None  # None: the main thread, or one that the system has started
    handle: Handle | None = None
    started: int | None = None
    ended: int | None = None
    joined: int | None = None  # where a wait for its end has returned
    detached: bool = False


def _starts_thread(call: Call) -> bool:
    if call.name == "pthread_create":
        return not call.is_under_way and call.result32 == 0
    return call.name in WIN32_THREADS and not call.is_under_way and not failed_to_make(call)


def threads_of(trace: Trace) -> list[Thread]:
    """Every thread that the program has started or that was seen, in order."""
    threads: list[Thread] = []
    by_creation: dict[int, Thread] = {}
    handles = {handle.created.seq: handle for handle in trace.handles}
    # Before anything else: a thread may be at work before the call that started it has returned.
    for call in trace.calls:
        if _starts_thread(call):
            thread = Thread(call.came_fact("thread"), call, handles.get(call.seq))
            by_creation[call.seq] = thread
            threads.append(thread)
    for at, entry in enumerate(trace.entries):
        note, call = entry.note, entry.call
        if note and note.word == "thread-start":
            thread = by_creation.get(int(note.facts["of"]) if note.facts.get("of", "").isdigit() else -1)
            if thread is None:
                thread = Thread(note.thread, None)
                threads.append(thread)
            thread.id, thread.started = note.thread, at
        elif note and note.word == "thread-end":
            for thread in threads:
                if thread.id == note.thread and thread.ended is None and thread.started is not None:
                    thread.ended = at
        elif call and entry.kind == "done":
            _mark_joined(trace, threads, call, at)
    return threads


def _mark_joined(trace: Trace, threads: list[Thread], call: Call, at: int) -> None:
    if call.name in ("pthread_join", "pthread_detach") and call.result32 == 0:
        for thread in threads:
            made_by_pthread = thread.created is not None and thread.created.name == "pthread_create"
            same = thread.id == call.fact("thread") and thread.id != 0
            if made_by_pthread and same and thread.joined is None and not thread.detached:
                thread.joined = at if call.name == "pthread_join" else None
                thread.detached = call.name == "pthread_detach"
    for value in signalled(call):
        handle = handle_at(trace, value, call.begin)
        for thread in threads:
            if handle and thread.handle is handle and thread.joined is None:
                thread.joined = at
