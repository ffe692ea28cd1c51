"""How many requests of Wine's server one echoed message costs: the figure that no other load on the machine changes.

Each is a trip to another process and back, and on Wine most of what a small message takes. A Wine of its own is started
for it, whose server writes every request down. That makes it slow: a client that sends again at once has its message
there before the next receive. What a message costs whose receive must wait is counted apart.
"""

import re
import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from labkit import paths, patience
from labkit.bench.contestants import Contestant, serving
from labkit.bench.load import MESSAGE_BYTES, load
from labkit.errors import HarnessError
from labkit.wine import Wine

LOG = paths.BUILD / "bench" / "wine-requests.log"
REQUEST = re.compile(rb"^[0-9a-f]{4}: (\w+)\( ", re.MULTILINE)  # its answer is a line "...: name() = ..."


@dataclass(frozen=True)
class Requests:
    server: str
    connections: int
    receives_wait: bool  # for each message; else it is there already, since writing everything down is slow
    per_message: float
    by_name: dict[str, float]  # the most frequent ones first


def requests_per_message(contestant: Contestant, connections: int) -> Requests:
    """With so many clients, each of which sends again as soon as it has its message back."""
    return _counted(
        contestant, connections, False, (200, 2000), lambda port, ms: load(port, connections, ms, 0).messages
    )


def requests_when_waiting(contestant: Contestant) -> Requests:
    """With one client, which sends when the server has nothing left to do."""
    return _counted(contestant, 1, True, (10, 60), _send_one_at_a_time)


def _counted(
    contestant: Contestant,
    connections: int,
    receives_wait: bool,
    extents: tuple[int, int],
    send: Callable[[int, int], int],
) -> Requests:
    """`send` is given the port and an extent, and returns how many messages it has sent."""
    wine = Wine(paths.BUILD / "bench" / "wine")
    wine.start(LOG)
    try:
        with serving(contestant, wine.environment()) as server:
            # What connecting and leaving cost is in both, and in their difference no more.
            (few, short), (many, long) = (_logged(lambda: send(server.port, extent)) for extent in extents)
    finally:
        wine.end()
        LOG.unlink(missing_ok=True)
    messages = many - few
    long.subtract(short)
    by_name = {name: count / messages for name, count in long.most_common() if count / messages >= 0.01}
    return Requests(contestant.name, connections, receives_wait, sum(long.values()) / messages, by_name)


def _logged(work: Callable[[], int]) -> tuple[int, Counter[str]]:
    before = LOG.stat().st_size
    messages = work()
    _wait_until_quiet(0.3)
    with LOG.open("rb") as log:
        log.seek(before)
        return messages, Counter(name.decode() for name in REQUEST.findall(log.read()))


def _send_one_at_a_time(port: int, messages: int) -> int:
    with socket.create_connection(("127.0.0.1", port), timeout=patience.seconds()) as client:
        for _ in range(messages):
            _wait_until_quiet(0.02)
            client.sendall(bytes(MESSAGE_BYTES))
            if len(client.recv(MESSAGE_BYTES, socket.MSG_WAITALL)) < MESSAGE_BYTES:
                raise HarnessError("a message has not come back")
    return messages


def _wait_until_quiet(seconds: float) -> None:
    """Until the server has written nothing for so long: it has done all it had to, or has seen all the clients off."""
    size, deadline = -1, time.monotonic() + patience.seconds()
    while size != (size := LOG.stat().st_size):
        if time.monotonic() > deadline:
            raise HarnessError("Wine's server has no end of requests although no client is there")
        time.sleep(seconds)  # nothing signals that a log has stopped growing
