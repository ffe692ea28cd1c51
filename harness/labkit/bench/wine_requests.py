"""How many requests of Wine's server one echoed message costs: the figure that no other load on the machine changes.

Each is a trip to another process and back, and on Wine most of what a small message takes. A Wine of its own is started
for it, whose server writes every request down. That makes it slow, but not other.
"""

import re
import time
from collections import Counter
from pathlib import Path

from labkit import paths, patience
from labkit.bench.contestants import Contestant, serving
from labkit.bench.load import load
from labkit.errors import HarnessError
from labkit.wine import Wine

LOG = paths.BUILD / "bench" / "wine-requests.log"
REQUEST = re.compile(rb"^[0-9a-f]{4}: (\w+)\( ", re.MULTILINE)  # its answer is a line "...: name() = ..."


def requests_per_message(contestant: Contestant, connections: int) -> tuple[float, dict[str, float]]:
    """All of them, and the most frequent ones by name."""
    wine = Wine(paths.BUILD / "bench" / "wine")
    wine.start(LOG)
    try:
        with serving(contestant, wine.environment()) as server:
            # What connecting and leaving cost is in both, and in their difference no more.
            (few, short), (many, long) = (_counted(server.port, connections, ms) for ms in (200, 2000))
    finally:
        wine.end()
        LOG.unlink(missing_ok=True)
    messages = many - few
    long.subtract(short)
    by_name = {name: count / messages for name, count in long.most_common() if count / messages >= 0.01}
    return sum(long.values()) / messages, by_name


def _counted(port: int, connections: int, measure_ms: int) -> tuple[int, Counter[str]]:
    before = LOG.stat().st_size
    messages = load(port, connections, measure_ms, warmup_ms=0).messages
    _wait_until_quiet()
    with Path(LOG).open("rb") as log:
        log.seek(before)
        return messages, Counter(name.decode() for name in REQUEST.findall(log.read()))


def _wait_until_quiet() -> None:
    """Until the server has seen all the clients off, and so writes no more."""
    size, deadline = -1, time.monotonic() + patience.seconds()
    while size != (size := LOG.stat().st_size):
        if time.monotonic() > deadline:
            raise HarnessError("Wine's server has no end of requests although no client is there")
        time.sleep(0.3)  # nothing signals that a log has stopped growing
