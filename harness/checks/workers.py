"""How many threads take packets from a program's completion port."""

from collections.abc import Iterable

from labkit.program import Run
from labkit.trace import read_trace
from labkit.trace_model import DEQUEUES
from labkit.verdict import reject_unless


def expect_workers(run: Run, asked_for: int, *, too_few: Iterable[str] = (), too_many: Iterable[str]) -> None:
    """As many threads as `--threads` said wait for packets, main perhaps one more. Seen only in a traced run.

    Who waits counts, not who gets a packet: Windows gives them to the thread that has come last, and one may get all.
    """
    if run.trace is None:
        return
    waiting = {call.thread for call in read_trace(run.trace).named(*DEQUEUES)}
    reject_unless(
        asked_for <= len(waiting) <= asked_for + 1,
        run,
        expected=f"{asked_for} threads wait for packets, as --threads says",
        came=f"{len(waiting)} threads do",
        errata=too_few if len(waiting) < asked_for else too_many,
    )
