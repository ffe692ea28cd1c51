"""Rules about memory and handles that are given up at the wrong time, twice, or in the wrong way."""

from __future__ import annotations

from collections.abc import Iterator

from labkit.rules.case import Case, Sighting, rule, seen
from labkit.trace_model import handle_at

ARE_CLOSES = ("CloseHandle", "closesocket")


@rule("closed-handle")
def closed_handle(case: Case) -> Iterator[Sighting]:
    """A handle is not used any more after it was closed."""
    for note in case.trace.notes:
        if note.word == "closed-handle" and note.facts.get("name") not in ARE_CLOSES:
            handle, name = note.fact("handle"), note.facts.get("name", "a call")
            yield seen(
                f"{name} in {case.thread_name(note.thread)} used the handle {handle:x} after it was closed.",
                *_calls_of(case, note.seq, name, note.thread, note.at, handle),
                note,
            )


@rule("double-close")
def double_close(case: Case) -> Iterator[Sighting]:
    """Each handle is closed once."""
    for note in case.trace.notes:
        if note.word == "closed-handle" and note.facts.get("name") in ARE_CLOSES:
            handle, name = note.fact("handle"), note.facts["name"]
            yield seen(
                f"{name} in {case.thread_name(note.thread)} closed the handle {handle:x} a second time.",
                *_calls_of(case, note.seq, name, note.thread, note.at, handle),
                note,
            )


def _calls_of(case: Case, seq: int, name: str, thread: int, at: int, handle: int) -> list:
    """The call that a note is about: it has the note's number, or else is the thread's last one of that name; and the
    call that closed the handle before."""
    calls = [call for call in case.trace.calls if call.seq == seq]
    near = [call for call in case.trace.calls if call.name == name and call.thread == thread and call.begin <= at]
    closed = [life.closed for life in case.trace.handles_by_value.get(handle, []) if life.closed]
    return [*(calls or near[-1:]), *closed[-1:]]


@rule("wrong-close")
def wrong_close(case: Case) -> Iterator[Sighting]:
    """A socket is closed by closesocket, everything else by CloseHandle."""
    for call in case.trace.named(*ARE_CLOSES):
        handle = handle_at(case.trace, call.argument(0), call.begin)
        # A close that worked has ended that very life; another life of the value is none of its business.
        if handle and (handle.kind == "socket") != (call.name == "closesocket"):
            yield seen(
                f"{case.told(call)} was given the {handle.kind} that {handle.created.name} had made.",
                call,
                handle.created,
            )


@rule("freed-in-flight")
def freed_in_flight(case: Case) -> Iterator[Sighting]:
    """Context and buffer are the kernel's until the completion was seen: they are not freed before."""
    for note in case.trace.notes:
        block = note.facts.get("block", "")
        if note.word != "free":
            continue
        for request in case.users_of(block):
            if request.is_in_flight_at(note.at):
                part = "context" if request.ov_in == f"heap:{block}" else "buffer"
                yield seen(
                    f"{case.thread_name(note.thread)} freed the {part} of the request made by "
                    f"{case.told(request.submit)}, whose completion had not been seen yet.",
                    note,
                    request.submit,
                )


@rule("frame-left")
def frame_left(case: Case) -> Iterator[Sighting]:
    """A stack frame is not left while the kernel still owns an OVERLAPPED or a buffer in it."""
    for note in case.trace.notes:
        if note.word == "frame-left":
            for request in case.in_flight_at(note.at):
                if request.ov == note.fact("ov"):
                    yield seen(
                        f"{case.thread_name(request.submit.thread)} left the function whose stack holds the "
                        f"OVERLAPPED or the buffer of {case.told(request.submit)}, before its completion was "
                        "seen.",
                        request.submit,
                        note,
                    )


@rule("double-free")
def double_free(case: Case) -> Iterator[Sighting]:
    """Context and buffer are freed once."""
    for note in case.trace.notes:
        if note.word == "double-free":
            block = note.facts.get("block", "")
            submits = [request.submit for request in case.users_of(block)]
            of = f" of the request made by {case.told(submits[-1])}" if submits else ""
            yield seen(f"{case.thread_name(note.thread)} freed the memory{of} a second time.", note, *submits[-1:])


@rule("written-after-free")
def written_after_free(case: Case) -> Iterator[Sighting]:
    """Nobody touches context or buffer after they were freed."""
    frees = {note.facts.get("block", ""): note for note in case.trace.notes if note.word == "free"}
    for note in case.trace.notes:
        block = note.facts.get("block", "")
        users = case.users_of(block)
        free = frees.get(block)
        if note.word != "written-after-free" or not users or free is None:
            continue
        if any(request.is_in_flight_at(free.at) for request in users):
            continue  # then it was the kernel, and freed-in-flight tells of it
        yield seen(
            f"{case.thread_name(free.thread)} freed the memory of the request made by {case.told(users[-1].submit)}, "
            "and somebody wrote to it afterwards.",
            free,
            users[-1].submit,
        )


@rule("wrong-delete")
def wrong_delete(case: Case) -> Iterator[Sighting]:
    """Memory goes back the way it came: delete[] for new[], delete for new, free for malloc."""
    for note in case.trace.notes:
        if note.word == "mismatch":
            made, freed = note.facts.get("made", "?"), note.facts.get("freed", "?")
            yield seen(f"{case.thread_name(note.thread)} gave memory that came from {made} back with {freed}.", note)
