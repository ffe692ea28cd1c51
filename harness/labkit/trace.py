"""What the probe wrote down about one run, read back: calls and notes in the order in which they were written.

The form of the file is told in harness/probe/trace.hpp. What the calls mean together (handles and their lifetimes,
requests and who owned them when, threads) is made in trace_model.py and trace_threads.py, and reached through the
Trace.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from labkit.errors import HarnessError

if TYPE_CHECKING:
    from labkit.trace_model import Handle, Packet, Request
    from labkit.trace_threads import Thread

INVALID_HANDLE = 0xFFFF_FFFF_FFFF_FFFF  # what CreateFile fails with
HEADER_BYTES = 8
MOST_BEHIND = 1 << 16


@dataclass(eq=False, slots=True)
class Call:
    """One call of a Win32 function. While no `done` was read for it, it is under way."""

    seq: int
    thread: int
    begin_us: int
    return_address: int
    name: str  # as exported: CreateFileW
    arguments: tuple[int, ...]
    facts: dict[str, str]
    begin: int  # where in Trace.entries it begins ...
    end: int | None = None  # ... and returns
    end_us: int | None = None
    result: int | None = None
    error: int | None = None  # GetLastError afterwards, whether it failed or not
    came: dict[str, str] = field(default_factory=dict)  # the facts of its `done`

    @property
    def is_under_way(self) -> bool:
        return self.end is None

    @property
    def injected(self) -> str | None:
        """What the harness did to this call: "fail", "pend" ...; None: nothing."""
        return self.came.get("injected")

    @property
    def result32(self) -> int:
        """The result as a DWORD, BOOL or int: its lower half. 0 while it is under way."""
        return (self.result or 0) & 0xFFFF_FFFF

    def argument(self, index: int) -> int:
        """An argument; 0 if the line was cut before it."""
        return self.arguments[index] if index < len(self.arguments) else 0

    def fact(self, name: str) -> int:
        """A fact of the call line as a number; 0 if it is absent or no number."""
        return _number(self.facts.get(name, ""))

    def came_fact(self, name: str) -> int:
        return _number(self.came.get(name, ""))


@dataclass(eq=False)
class Note:
    """Something that is no call: the stack left, a block freed, the process ending in order."""

    seq: int
    thread: int
    us: int
    word: str
    facts: dict[str, str]
    at: int  # where in Trace.entries

    def fact(self, name: str) -> int:
        return _number(self.facts.get(name, ""))

    @property
    def callers(self) -> tuple[int, ...]:
        """The return addresses behind the one in `at`, the nearest first."""
        return _hex_numbers(self.facts.get("callers", "").split(","))


@dataclass(eq=False, slots=True)
class Entry:
    """One line of the file."""

    kind: Literal["call", "done", "note"]
    call: Call | None = None  # of "call" and "done"
    note: Note | None = None


@dataclass(eq=False)
class Trace:
    calls: list[Call] = field(default_factory=list)  # in the order in which they began
    notes: list[Note] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)  # everything, in the file's order
    is_full: bool = False  # the file had no more room: what came later is missing
    damaged: list[str] = field(default_factory=list)  # lines that cannot be read: the process ended while writing them

    @property
    def base(self) -> int:
        """Where the executable was loaded; 0 if the trace does not say."""
        return self._begun_with("base")

    @property
    def processors(self) -> int:
        """How many the program was told that there are; 0: not known."""
        return self._begun_with("processors")

    def _begun_with(self, fact: str) -> int:
        return next((note.fact(fact) for note in self.notes if note.word == "begin"), 0)

    @property
    def ended_in_order(self) -> bool:
        return any(note.word == "exit" for note in self.notes)

    @property
    def exit_code(self) -> int | None:
        """What it was about to end with; None: it has not come to its end, or not in order."""
        note = next((note for note in self.notes if note.word == "exit" and "code" in note.facts), None)
        return note.fact("code") if note else None

    @property
    def processor_ms(self) -> int:
        """The processor time that the program itself has taken, if it has come to its end in order."""
        ended = next((note.fact("cpu") for note in self.notes if note.word == "exit"), 0)
        return max(0, ended - self._begun_with("cpu"))

    @property
    def main_thread(self) -> int:
        """The thread that wrote the first line."""
        first = next(iter(self.notes), None) or next(iter(self.calls), None)
        return first.thread if first else 0

    @functools.cached_property
    def handles(self) -> list[Handle]:
        from labkit import trace_model

        return trace_model.handles_of(self)

    @functools.cached_property
    def handles_by_value(self) -> dict[int, list[Handle]]:
        lives: dict[int, list[Handle]] = {}
        for handle in self.handles:
            lives.setdefault(handle.value, []).append(handle)
        return lives

    @functools.cached_property
    def _ownership(self) -> tuple[list[Request], list[Packet]]:
        from labkit import trace_model

        return trace_model.ownership_of(self)

    @property
    def requests(self) -> list[Request]:
        return self._ownership[0]

    @property
    def packets(self) -> list[Packet]:
        return self._ownership[1]

    @functools.cached_property
    def threads(self) -> list[Thread]:
        from labkit import trace_threads

        return trace_threads.threads_of(self)

    def named(self, *names: str) -> list[Call]:
        """The calls of these functions, in order."""
        found = [call for name in names for call in self._by_name.get(name, [])]
        return sorted(found, key=lambda call: call.begin) if len(names) > 1 else found

    @functools.cached_property
    def _by_name(self) -> dict[str, list[Call]]:
        by_name: dict[str, list[Call]] = {}
        for call in self.calls:
            by_name.setdefault(call.name, []).append(call)
        return by_name


def read_trace(path: Path) -> Trace:
    """Reads a trace file, as far as it was written.

    The size in its header may be behind by the lines that were just being written, so some more is read: what was not
    written is zero. A line that another thread was still copying when the process ended is zero in part, and left out.
    """
    try:
        with path.open("rb") as file:
            header = file.read(HEADER_BYTES)
            data = file.read(int.from_bytes(header, "little") + MOST_BEHIND)
    except OSError as error:
        raise HarnessError(f"the probe's trace cannot be read: {error}") from error
    if len(header) < HEADER_BYTES:
        raise HarnessError(f"{path} is no trace: it has {len(header)} bytes")
    return parse_trace(data.rstrip(b"\0").decode("utf-8", errors="replace"))


def parse_trace(text: str) -> Trace:
    """A trace from its lines."""
    trace = Trace()
    open_calls: dict[int, Call] = {}
    *lines, unfinished = text.split("\n")
    for line in lines:
        line = line.rstrip("\r")
        *holes, line = line.split("\0")  # zero bytes: a line that was never copied in stood before this one
        trace.damaged += [hole for hole in holes if hole]
        if line == "full":
            trace.is_full = True
        elif line and not _read_line(line, trace, open_calls):
            trace.damaged.append(line)
    if unfinished.strip("\0"):
        trace.damaged.append(unfinished)
    return trace


def _read_line(line: str, trace: Trace, open_calls: dict[int, Call]) -> bool:
    """Adds one line to the trace. False: it is none of the three kinds."""
    kind, *fields = line.split("\t")
    at = len(trace.entries)
    try:
        if kind == "call":
            seq, thread, us, return_address, name = fields[:5]
            words, facts = _split(fields[5:])
            call = Call(
                int(seq), int(thread, 16), int(us), int(return_address, 16), name, _hex_numbers(words), facts, at
            )
            open_calls[call.seq] = call
            trace.calls.append(call)
            trace.entries.append(Entry("call", call=call))
        elif kind == "done":
            seq, _, us, result, error = fields[:5]
            end_us, result_value, error_value = int(us), int(result, 16), int(error)
            call = open_calls.pop(int(seq))
            call.end, call.end_us, call.result, call.error = at, end_us, result_value, error_value
            call.came = _split(fields[5:])[1]
            trace.entries.append(Entry("done", call=call))
        elif kind == "note":
            seq, thread, us, word = fields[:4]
            note = Note(int(seq), int(thread, 16), int(us), word, _split(fields[4:])[1], at)
            trace.notes.append(note)
            trace.entries.append(Entry("note", note=note))
        else:
            return False
    except (ValueError, KeyError):  # a field is missing or no number; a `done` whose call is not there
        return False
    return True


def _split(fields: list[str]) -> tuple[list[str], dict[str, str]]:
    """Plain fields, and those of the form name=value."""
    words, facts = [], {}
    for text in fields:
        name, is_fact, value = text.partition("=")
        if is_fact:
            facts[name] = value
        else:
            words.append(text)
    return words, facts


def _hex_numbers(words: list[str]) -> tuple[int, ...]:
    return tuple(int(word, 16) for word in words if word)


def _number(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        return 0
