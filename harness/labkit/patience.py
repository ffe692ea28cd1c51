"""How long the harness waits before it calls something hanging.

Far beyond what a program needs, also on a busy machine: what is judged is that something never ends, not how long it
took. Once something of a program was seen to hang, it is lost anyway, and its next hang is called one sooner: a server
that never answers would otherwise cost its student this long again in every check.
"""

from labkit import subject

FIRST_S = 20.0
LATER_S = 5.0

_seen_hanging: set[str] = set()


def _about() -> str:
    """Which program is asked just now: it is not to suffer for another's hangs."""
    recording = subject.current()
    return recording.subject.key if recording else ""


def seconds() -> float:
    return LATER_S if _about() in _seen_hanging else FIRST_S


def ran_out() -> None:
    """Something was waited for in vain."""
    _seen_hanging.add(_about())
