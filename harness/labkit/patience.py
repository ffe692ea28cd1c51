"""How long the harness waits before it calls something hanging.

Far beyond what a program needs, also on a busy machine: a verdict never comes from how long something took, only from
its never ending. Once something was seen to hang, the run is lost anyway, and the next hang is called one sooner: a
server that never answers would otherwise cost its student this long again in every check.
"""

FIRST_S = 20.0
LATER_S = 5.0

_seen_hanging = False


def seconds() -> float:
    return LATER_S if _seen_hanging else FIRST_S


def ran_out() -> None:
    """Something was waited for in vain."""
    global _seen_hanging
    _seen_hanging = True
