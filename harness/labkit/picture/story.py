"""What a picture tells, taken from a trace: threads, their calls, who owned which request, handles.

Every place in time is a tick: the number of an event that is drawn. An event is a call's begin, its return, a block's
end, or something the probe found wrong.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from labkit.picture import names
from labkit.trace import Call, Note, Trace
from labkit.trace_model import DEQUEUES, RESULTS, Handle, Request, handle_at

KERNEL = -1

# Of more OVERLAPPEDs than calls / 6 the ownership is not drawn.
CALLS_FOR_A_CONTEXT = 6

ALARMS = {
    "mismatch": "freed the wrong way",
    "double-free": "freed twice",
    "frame-left": "stack left while in flight",
    "closed-handle": "handle was closed",
}


@dataclass(frozen=True)
class Span:
    begin: int
    end: int | None = None  # None: to the end of the picture
    owner: int = KERNEL  # or the number of a thread
    text: str = ""
    seq: int | None = None  # the call that it began with
    giver: int = KERNEL  # of a flight: the thread that submitted it ...
    taker: int = KERNEL  # ... and the one that saw it completed


@dataclass(frozen=True)
class ThreadAbout:
    name: str
    id: int
    alive: Span


@dataclass(frozen=True)
class Bar:
    """A call."""

    call: Call
    thread: int
    begin: int
    end: int | None
    name: str
    outcome: str
    source: str
    failed: bool
    waits: bool
    ownership: str  # what it did to a request's ownership, in a sentence

    @property
    def seq(self) -> int:
        return self.call.seq


@dataclass(frozen=True)
class Mark:
    """Something the probe found wrong, and where."""

    note: Note
    thread: int
    at: int
    name: str
    outcome: str = ""
    source: str = ""

    @property
    def seq(self) -> int:
        return self.note.seq


@dataclass(frozen=True)
class Context:
    """An OVERLAPPED with its buffer, used for one request or for several one after another."""

    number: int
    name: str
    where: str
    spans: list[Span]
    freed: bool


@dataclass(frozen=True)
class Life:
    """A handle's life."""

    name: str
    span: Span


@dataclass
class Story:
    title: str
    times: list[int] = field(default_factory=list)  # of every tick, in microseconds
    threads: list[ThreadAbout] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    contexts: list[Context] = field(default_factory=list)
    flights: list[Span] = field(default_factory=list)  # one for each request the kernel has held
    held: list[Span] = field(default_factory=list)  # all that the kernel holds, from change to change
    lives: list[Life] = field(default_factory=list)
    left_out: int = 0  # calls that are not drawn
    contexts_left_out: int = 0  # OVERLAPPEDs whose ownership is not drawn


def tell(
    trace: Trace,
    source_lines: Callable[..., str],
    title: str,
    functions: Callable[[int], str] | None = None,
    around: int | None = None,
    most_calls: int = 384,
) -> Story:
    """A story of more calls than `most_calls` is cut: its first calls, its last ones, and those around `around`."""
    return _Teller(trace, source_lines, functions, around, most_calls).tell(title)


class _Teller:
    def __init__(
        self,
        trace: Trace,
        source_lines: Callable[..., str],
        functions: Callable[[int], str] | None,
        around: int | None,
        most_calls: int,
    ) -> None:
        self.trace = trace
        self.source_lines = source_lines
        self.functions = functions
        self.drawn = _drawn_calls(trace, around, most_calls)
        self.most_contexts = most_calls // CALLS_FOR_A_CONTEXT
        submitted = [request for request in trace.requests if request.submit.seq in self.drawn]
        self.memory = _memory_of(submitted)
        self.requests = [request for request in submitted if self.memory[_key(request)] <= self.most_contexts]
        self.places: list[int] = []  # of the ticks, in Trace.entries
        self.thread_numbers: dict[int, int] = {}

    def tell(self, title: str) -> Story:
        story = Story(title, left_out=len(self.trace.calls) - len(self.drawn))
        story.contexts_left_out = max(0, len(self.memory) - self.most_contexts)
        self._find_ticks(story)
        self._meet_threads(story)
        ownership = self._contexts(story)
        self._calls(story, ownership)
        self._marks(story)
        self._held(story)
        self._handles(story)
        return story

    # ------------------------------------------------------------ time

    def _find_ticks(self, story: Story) -> None:
        blocks = {block for request in self.requests for block in request.blocks}
        for at, entry in enumerate(self.trace.entries):
            call, note = entry.call, entry.note
            if call and call.seq in self.drawn:
                self._tick(story, at, call.begin_us if entry.kind == "call" else call.end_us or call.begin_us)
            elif note and (note.word in ALARMS or (note.word == "free" and note.facts.get("block") in blocks)):
                self._tick(story, at, note.us)

    def _tick(self, story: Story, at: int, us: int) -> None:
        self.places.append(at)
        story.times.append(us)

    def _at(self, place: int | None) -> int | None:
        """The tick of a place in the trace: of its own event, or of the next one that is drawn."""
        if place is None:
            return None
        tick = bisect_left(self.places, place)
        return tick if tick < len(self.places) else None

    def _from(self, place: int) -> int:
        tick = self._at(place)
        return len(self.places) - 1 if tick is None else tick

    # ------------------------------------------------------------ threads

    def _meet_threads(self, story: Story) -> None:
        seen: dict[int, list[int]] = {}
        for tick, place in enumerate(self.places):
            entry = self.trace.entries[place]
            thread = entry.call.thread if entry.call else entry.note.thread if entry.note else 0
            seen.setdefault(thread, []).append(tick)
        main = self.trace.main_thread
        order = sorted(seen, key=lambda thread: (thread != main, seen[thread][0]))
        by_id = {thread.id: thread for thread in self.trace.threads}
        used: dict[str, int] = {}
        for number, thread in enumerate(order):
            self.thread_numbers[thread] = number
            known = by_id.get(thread)
            started = known.started if known and number else None
            ended = known.ended if known and number else None
            begin = min(seen[thread][0], self._from(started)) if started is not None else seen[thread][0]
            end = None if number == 0 else max(seen[thread][-1], self._at(ended) or 0)
            name = "main" if number == 0 else self._function_of(known.created if known else None) or "thread"
            used[name] = used.get(name, 0) + 1
            if number and (used[name] > 1 or name == "thread"):
                name = f"{name} {used[name] + (name == 'thread')}"
            story.threads.append(ThreadAbout(name, thread, Span(0 if number == 0 else begin, end)))

    def _function_of(self, creation: Call | None) -> str:
        """The name of the function that a thread runs; nothing if it is the library's own."""
        if self.functions is None or creation is None:
            return ""
        name = self.functions(creation.argument(2)).partition("(")[0]
        return "" if "execute_native" in name or not name.replace("_", "a").isalnum() else name

    # ------------------------------------------------------------ calls

    def _calls(self, story: Story, ownership: dict[int, list[str]]) -> None:
        in_flight: dict[int, int] = {request.ov: self.memory[_key(request)] for request in self.requests}
        submits = {request.submit.seq: self.memory[_key(request)] for request in self.requests}
        for call in self.trace.calls:
            if call.seq not in self.drawn:
                continue
            if call.seq in submits:
                in_flight[call.fact("ov")] = submits[call.seq]
            name = f"{call.name} #{submits[call.seq]}" if call.seq in submits else call.name
            if call.name in RESULTS and call.argument(1) in in_flight:
                name += f" #{in_flight[call.argument(1)]}"
            story.bars.append(
                Bar(
                    call,
                    self.thread_numbers[call.thread],
                    self._from(call.begin),
                    self._at(call.end),
                    name,
                    names.outcome(call, in_flight),
                    self.source_lines(call.return_address),
                    names.has_failed(call),
                    names.waits(call),
                    " ".join(ownership.get(call.seq, [])),
                )
            )

    def _marks(self, story: Story) -> None:
        for note in self.trace.notes:
            if note.word in ALARMS:
                thread = self.thread_numbers[note.thread]
                source = self.source_lines(note.fact("at"), *note.callers) if note.fact("at") else ""
                detail = note.facts.get("name", "")
                story.marks.append(Mark(note, thread, self._from(note.at), ALARMS[note.word], detail, source))

    # ------------------------------------------------------------ who owns what

    def _contexts(self, story: Story) -> dict[int, list[str]]:
        """The contexts of the story, and for each call what it changed in them."""
        told: dict[int, list[str]] = {}
        of_memory: dict[int, list[Request]] = {}
        for request in self.requests:
            of_memory.setdefault(self.memory[_key(request)], []).append(request)
        for number, requests in of_memory.items():
            freed = self._freed(requests[0])
            spans: list[Span] = []
            for request in requests:
                self._one_request(story, number, request, spans, told)
            self._after_last(requests[-1], freed, spans)
            where = requests[0].ov_in.partition(":")[0]
            shown = [span for span in spans if span.end is None or span.end > span.begin]
            if shown:
                story.contexts.append(Context(number, f"OVERLAPPED #{number}", where, shown, freed is not None))
        return told

    def _one_request(
        self, story: Story, number: int, request: Request, spans: list[Span], told: dict[int, list[str]]
    ) -> None:
        submit = request.submit
        giver = self.thread_numbers.get(submit.thread)
        if giver is None:
            return  # neither it nor anything else of its thread is drawn
        begin = self._from(submit.begin)
        if spans:
            spans[-1] = replace(spans[-1], end=begin)
        else:
            spans.append(Span(self._before(request, begin), begin, giver, seq=submit.seq))
        told.setdefault(submit.seq, []).append(
            f"OVERLAPPED #{number} was refused: it stays with {story.threads[giver].name}."
            if request.outcome == "refused"
            else f"Gives OVERLAPPED #{number} and its buffer to the kernel."
        )
        if request.outcome == "refused":
            spans.append(Span(begin, None, giver, seq=submit.seq))
            return
        seen_by, seen_at = _seen(request)
        end = self._at(seen_at)
        taker = self.thread_numbers.get(seen_by.thread, KERNEL) if seen_by else KERNEL
        flight = Span(begin, end, KERNEL, names.operation(submit), submit.seq, giver, taker)
        spans.append(flight)
        story.flights.append(replace(flight, text=f"#{number}"))
        if seen_by and taker != KERNEL and end is not None:
            told.setdefault(seen_by.seq, []).append(
                f"Sees the completion of OVERLAPPED #{number}: it belongs to {story.threads[taker].name} now."
            )
            spans.append(Span(end, None, taker, seq=seen_by.seq))

    def _before(self, request: Request, begin: int) -> int:
        """From when the submitter is drawn as owner: since it made the request's event, or just before the call."""
        event = handle_at(self.trace, request.event, request.owned_from)
        if event is not None and event.created.thread == request.submit.thread:
            return min(self._from(event.born), begin)
        return max(begin - 1, 0)

    def _freed(self, request: Request) -> int | None:
        block = request.ov_in.removeprefix("heap:")
        at = next((n.at for n in self.trace.notes if n.word == "free" and n.facts.get("block") == block), None)
        return self._at(at) if request.ov_in.startswith("heap:") else None

    def _after_last(self, request: Request, freed: int | None, spans: list[Span]) -> None:
        if not spans:
            return
        if freed is not None:
            spans[-1] = replace(spans[-1], end=max(freed, spans[-1].begin))
            return
        # Memory in another thread's frame was only lent: it is that thread's own again when the borrower has ended.
        owner = _stack_owner(request.ov_in)
        home = self.thread_numbers.get(owner) if owner is not None else None
        last = spans[-1]
        if last.owner == KERNEL or home is None or last.owner == home:
            return
        borrower = next((t for t, number in self.thread_numbers.items() if number == last.owner), None)
        ended = next((t.ended for t in self.trace.threads if t.id == borrower and t.ended is not None), None)
        at = self._at(ended)
        if at is not None and at > last.begin:
            spans[-1] = replace(last, end=at)
            spans.append(Span(at, None, home, seq=last.seq))

    def _held(self, story: Story) -> None:
        """From change to change what the kernel holds."""
        last = len(self.places)
        changes = sorted({s.begin for s in story.flights} | {last if s.end is None else s.end for s in story.flights})
        for begin, end in zip(changes, changes[1:], strict=False):
            held = [s.text for s in story.flights if s.begin <= begin and (s.end is None or s.end >= end)]
            if held:
                story.held.append(Span(begin, None if end == last else end, text=" ".join(held)))

    # ------------------------------------------------------------ handles

    def _handles(self, story: Story) -> None:
        for handle in self.trace.handles:
            begin = self._from(handle.born)
            end = self._at(handle.dead)
            if handle.dead is not None and end is None:
                end = len(self.places) - 1
            story.lives.append(Life(f"{handle.kind} {handle.value:x}", Span(begin, end, seq=_first(handle))))


def _first(handle: Handle) -> int:
    return handle.created.seq


def _key(request: Request) -> tuple[int, str]:
    """Which memory it is: an address on the heap may come back in another block."""
    return request.ov, request.ov_in


def _memory_of(requests: list[Request]) -> dict[tuple[int, str], int]:
    """The OVERLAPPEDs, numbered from 1 in the order of their first use."""
    numbers: dict[tuple[int, str], int] = {}
    for request in requests:
        numbers.setdefault(_key(request), len(numbers) + 1)
    return numbers


def _seen(request: Request) -> tuple[Call | None, int | None]:
    """Who saw the completion, and where: the call that asked how it went, if there is one, else the wait."""
    asked = next((look for look in request.looks if look.name in (*RESULTS, *DEQUEUES)), None)
    return (asked, asked.end) if asked else (request.observed, request.observed_at)


def _stack_owner(where: str) -> int | None:
    kind, _, thread = where.partition(":")
    try:
        return int(thread, 16) if kind == "stack" else None
    except ValueError:
        return None


def _drawn_calls(trace: Trace, around: int | None, most: int) -> set[int]:
    calls = trace.calls
    if len(calls) <= most:
        return {call.seq for call in calls}
    third = most // 3
    focus = next((i for i, call in enumerate(calls) if call.seq == around), 2 * third)
    middle = calls[max(0, focus - third // 2) : focus + third // 2]
    return {call.seq for call in [*calls[:third], *middle, *calls[-third:]]}
