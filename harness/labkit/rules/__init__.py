"""Verdicts from a trace: one small rule for each thing that can be seen to be wrong.

A rule is a function that looks at one run and yields what it has seen. Which errata that belongs to, stage by stage,
stands in one table here.
"""

from __future__ import annotations

from labkit.rules import leaks, memory, ports, requests, sockets, waiting  # noqa: F401 - each registers its rules
from labkit.rules.case import RULES, Case, Finding
from labkit.stages import stage_named
from labkit.trace import Trace

__all__ = ["ERRATA", "RULES", "Finding", "judge"]


NO_ERRATUM = "-"


def _by_program(one: str, two: str, three: str, four: str, files: str, network: str) -> dict[str, tuple[str, ...]]:
    """Errata by program, in the order of the stages. An empty text: the rule is not asked there. NO_ERRATUM: it is, but
    the notes have no such defect in that stage; the rule's own sentence has to do."""
    programs = ("event_wait", "thread_wait", "overlapped_plus", "four_reads", "iocp_files", "iocp_network")
    texts = (one, two, three, four, files, network)
    asked = {program: text for program, text in zip(programs, texts, strict=True) if text}
    return {program: () if text == NO_ERRATUM else tuple(text.split()) for program, text in asked.items()}


# Rule: the errata by program. A rule without an entry for a program is not asked about it.
ERRATA: dict[str, dict[str, tuple[str, ...]]] = {
    "event-leak": _by_program("E10", "E10", "P8", "F6", "F6", "N19"),
    "file-leak": _by_program("E10", "E10", "P4", "F8", "F8", "N8"),
    "port-leak": _by_program("-", "-", "-", "-", "F19", "N29"),
    "socket-leak": _by_program("-", "-", "-", "-", "-", "N8"),
    "thread-leak": _by_program("T10", "T10", "P9", "F25", "F25", "N33"),
    "context-leak": _by_program("-", "-", "P7 P4", "F4", "F19 F8", "N29 N16"),
    "context-leak-at-once": _by_program("-", "-", "P4", "F4", "F4", "N16"),
    "context-leak-refused": _by_program("-", "-", "P4", "F22", "F22", "N16"),
    "memory-leak": _by_program("", "", "", "", "", "N31"),
    "winsock-balance": _by_program("", "", "", "", "", "N29 N28"),
    "closed-handle": _by_program("E10", "T7", "P18", "F8", "F8", "-"),
    "double-close": _by_program("E10", "T7", "P18", "F8", "F8", "N8"),
    "wrong-close": _by_program("E10", "T7", "P18", "F8", "F8", "N19"),
    "freed-in-flight": _by_program("E8", "T8", "P7 P10", "F4", "F19 F22", "N28 N16"),
    "frame-left": _by_program("E8", "T8", "P15", "F4", "F4", "N28"),
    "double-free": _by_program("-", "-", "P7 P4", "F22", "F22", "N16"),
    "written-after-free": _by_program("-", "-", "P7 P4", "F22", "F22", "N16"),
    "wrong-delete": _by_program("-", "-", "P6", "F15", "F15", "N18"),
    "reused-in-flight": _by_program("E8", "T8", "P7", "F4", "F22", "N16"),
    "abandoned": _by_program("E8", "T8 T9", "P10 P7", "F4", "F19", "N28"),
    "hang": _by_program("E8", "E8 T9", "P10 E8", "F4", "F19 F12", "N28"),
    "auto-reset": _by_program("E6", "E6", "E6", "E6", "", ""),
    "event-under-port": _by_program("", "", "", "", "F6", "N19"),
    "unchecked": _by_program("E5 E4", "E5 T10 E4", "E5 T10 E4", "F7 F3", "F7 F16 F17 F25", "N22 N23 N33"),
    "not-zeroed": _by_program("E15", "E15", "P13", "F5", "F5", "N7"),
    "waits-where-it-asked": _by_program("", "T14", "T14", "", "", ""),
    "polling": _by_program("E8", "T14", "T14", "F4", "F13", "N12"),
    "not-joined": _by_program("", "T9 T10", "P10 P9", "F19", "F19", "N33 N28"),
    "crt-thread": _by_program("", "T11", "T11", "", "", ""),
    "closed-in-flight": _by_program("E8", "T7", "P18", "F4", "F19", "N28"),
    "on-the-stack": _by_program("", "", "P2", "", "", ""),
    "static-memory": _by_program("", "", "-", "", "", ""),
    "shared-buffer": _by_program("", "", "P15", "F4", "F4", "N8"),
    "same-offset": _by_program("", "", "", "F1", "F1", ""),
    "pool-of-one": _by_program("", "", "", "", "F12", "N12"),
    "stale-output": _by_program("", "", "", "", "F20", "N12"),
    "concurrency": _by_program("", "", "", "", "F18", "N33"),
    "inheritable-socket": _by_program("", "", "", "", "", "N30"),
    "backlog": _by_program("", "", "", "", "", "N27"),
    "blocking-accept": _by_program("", "", "", "", "", "N20"),
    "accept-context": _by_program("", "", "", "", "", "N20"),
    "exclusive-address": _by_program("", "", "", "", "", "N26"),
    "count-pointer": _by_program("", "", "", "", "", "N17"),
    "cancel-not-awaited": _by_program("E8", "E8", "E8", "", "", ""),
    "not-overlapped-file": _by_program("-", "-", "-", "-", "-", ""),
    "key-is-socket": _by_program("", "", "", "", "", "N37"),
}


def judge(trace: Trace, stage: int, program: str, *, hang: bool = False) -> list[Finding]:
    """What the rules have against a run. `hang`: the harness had to end it.

    The program is one of the contract's, and tells the stage; the stage is asked for so that nobody mixes them up.
    """
    assert stage_named(program).number == stage
    case = Case(trace, stage, program, hang)
    findings = []
    for rule in RULES.values():
        errata = ERRATA[rule.name].get(program)
        if errata is None:
            continue
        for sighting in rule.look(case):
            seq = sighting.about[0].seq if sighting.about else 0
            right = "" if errata else rule.sentence
            findings.append(Finding(rule.name, errata, sighting.message, sighting.addresses, seq, right))
    return findings
