"""Traces written by hand, for the tests of what reads them.

One line a call, with its return: `main ReadFile 30 0 1000 0 f0 ov=f0 len=1000 -> 0 997`: the thread, the function, its
arguments and facts, then the result, the error (none: 0) and what came. Without `->` the call is still under way, until
a line `main <- 0 997` of the same thread, which is its return. A line
`main ! free block=7` is a note. `main@7` makes the call from the place 7 of the program: two calls from one place are
one line of a source. Threads are main, t2, t3. Numbers are hex, the error decimal, as in a trace.
"""

from labkit.trace import Trace, parse_trace

THREADS = {"main": "1", "t2": "2", "t3": "3"}


def trace_of(text: str, *, ends: bool = True, processors: int = 0) -> Trace:
    """The trace of these lines; `ends`: the process has ended in order. `processors`: those of its machine, if told."""
    lines = [f"note\t0\t1\t0\tbegin\tbase=140000000\tprocessors={processors:x}"]
    under_way: dict[str, int] = {}  # each thread's latest call without a return
    rows = [row.strip() for row in text.strip().splitlines() if row.strip()]
    for seq, row in enumerate(rows, 1):
        thread, name, *words = row.split()
        thread, _, place = thread.partition("@")
        number = THREADS[thread]
        if name == "!":
            lines.append("\t".join(["note", str(seq), number, str(seq), *words]))
            continue
        if name == "<-":
            lines.append(_done(under_way.pop(thread), number, seq, words))
            continue
        asked, came = (words[: words.index("->")], words[words.index("->") + 1 :]) if "->" in words else (words, None)
        lines.append("\t".join(["call", str(seq), number, str(seq), place or f"14000{seq:04x}", name, *asked]))
        if came is not None:
            lines.append(_done(seq, number, seq, came))
        else:
            under_way[thread] = seq
    if ends:
        lines.append(f"note\t{len(rows) + 1}\t1\t9\texit")
    return parse_trace("\n".join(lines) + "\n")


def _done(of: int, thread: str, at: int, came: list[str]) -> str:
    error = came[1:2] if len(came) > 1 and "=" not in came[1] else ["0"]
    facts = [word for word in came[1:] if "=" in word]
    return "\t".join(["done", str(of), thread, str(at), came[0], *error, *facts])
