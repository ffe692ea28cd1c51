"""What a rule is given and what it gives back."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from labkit.trace import Call, Note, Trace
from labkit.trace_model import Handle, Request


@dataclass(frozen=True)
class Finding:
    """Something that a rule has against a run."""

    rule: str
    errata: tuple[str, ...]
    message: str  # what happened, in which thread, at which call; why it matters is told by the errata
    # Of each call or note involved, the most important first: its return address, and those behind it, as far as known.
    addresses: tuple[tuple[int, ...], ...]
    seq: int  # of the call or note it is about
    right: str = ""  # the rule's sentence, if no erratum tells what is right


@dataclass(frozen=True)
class Case:
    """One run to be judged."""

    trace: Trace
    stage: int
    program: str
    hang: bool  # the harness has ended it

    @property
    def has_ended(self) -> bool:
        """It ended in order by itself, and the trace tells all of it: what is left then is left for good."""
        return self.trace.ended_in_order and not self.hang and not self.trace.is_full

    @property
    def is_on_port(self) -> bool:
        """The program's requests are to be reported by a completion port."""
        return self.program not in ("event_wait", "thread_wait", "overlapped_plus", "four_reads") and self.stage >= 4

    def thread_name(self, thread: int) -> str:
        return "main" if thread == self.trace.main_thread else f"thread {thread:x}"

    def told(self, call: Call) -> str:
        """The call as a message names it: "ReadFile in main"."""
        return f"{call.name} in {self.thread_name(call.thread)}"

    def users_of(self, block: str) -> list[Request]:
        """The requests that use this heap block, in the order of submitting."""
        return self._by_block.get(block, [])

    @functools.cached_property
    def _by_block(self) -> dict[str, list[Request]]:
        found: dict[str, list[Request]] = {}
        for request in self.trace.requests:
            for block in request.blocks:
                found.setdefault(block, []).append(request)
        return found

    def requests_of(self, handle: Handle) -> list[Request]:
        """The requests that were made of it while it lived."""
        made = self._by_handle.get(handle.value, [])
        return [request for request in made if handle.lives_at(request.submit.begin)]

    @functools.cached_property
    def _by_handle(self) -> dict[int, list[Request]]:
        found: dict[int, list[Request]] = {}
        for request in self.trace.requests:
            found.setdefault(request.handle, []).append(request)
        return found

    def in_flight_at(self, at: int) -> list[Request]:
        return [request for request in self.trace.requests if request.is_in_flight_at(at)]


@dataclass(frozen=True)
class Sighting:
    """What a rule function yields; `judge` adds the rule's name and the errata."""

    message: str
    about: tuple[Call | Note, ...]

    @property
    def addresses(self) -> tuple[tuple[int, ...], ...]:
        found = [(it.return_address,) if isinstance(it, Call) else (it.fact("at"), *it.callers) for it in self.about]
        return tuple(dict.fromkeys(chain for chain in found if chain[0]))


def seen(message: str, *about: Call | Note) -> Sighting:
    return Sighting(message, about)


RuleFunction = Callable[[Case], Iterator[Sighting]]


@dataclass(frozen=True)
class Rule:
    name: str
    look: RuleFunction

    @property
    def sentence(self) -> str:
        return (self.look.__doc__ or "").strip()


RULES: dict[str, Rule] = {}


def rule(name: str) -> Callable[[RuleFunction], RuleFunction]:
    """Makes a function a rule, known by this name. Its docstring says what is right."""

    def register(function: RuleFunction) -> RuleFunction:
        RULES[name] = Rule(name, function)
        return function

    return register
