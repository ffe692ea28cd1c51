"""The server beside Asio's: how many messages a second, and how long each took."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from labkit.bench.contestants import OURS, PEERS, Contestant, serving
from labkit.bench.load import Load, load

CONNECTIONS = (1, 50, 500)
ALL = (OURS, *PEERS)

# What is compared, and how it reads off a measurement.
FIGURES: dict[str, Callable[[Load], float]] = {
    "messages/s": lambda load: load.per_second,
    "p50": lambda load: load.p50_us,
    "p99": lambda load: load.p99_us,
    "longest": lambda load: load.max_us,
}


@dataclass(frozen=True)
class Spread:
    """Of one figure over all rounds."""

    median: float
    low: float  # first quartile
    high: float  # third

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)


@dataclass
class Level:
    """All rounds at one number of connections."""

    connections: int
    rounds: list[dict[str, Load]]  # by the contestant's name

    @property
    def better_peer(self) -> str:
        """The peer's configuration with more messages a second."""
        return max((peer.name for peer in PEERS), key=lambda name: self.spread(name, FIGURES["messages/s"]).median)

    def spread(self, name: str, figure: Callable[[Load], float]) -> Spread:
        return Spread.of([figure(loads[name]) for loads in self.rounds])

    def ratio(self, figure: Callable[[Load], float]) -> Spread:
        """Ours over the better peer's, round by round: what else the machine did then, it did to both."""
        peer = self.better_peer
        return Spread.of([figure(loads[OURS.name]) / max(figure(loads[peer]), 1) for loads in self.rounds])


def measure(rounds: int, measure_ms: int, told: Callable[[int, int], None]) -> list[Level]:
    """Every server in every round, each time started anew, and each time in another order."""
    levels = [Level(connections, []) for connections in CONNECTIONS]
    done = 0
    for number in range(rounds):
        for level in levels:
            order: list[Contestant] = [*ALL[number % len(ALL) :], *ALL[: number % len(ALL)]]
            loads = {}
            for contestant in order:
                with serving(contestant) as server:
                    loads[contestant.name] = load(server.port, level.connections, measure_ms)
                done += 1
                told(done, rounds * len(levels) * len(ALL))
            level.rounds.append(loads)
    return levels
