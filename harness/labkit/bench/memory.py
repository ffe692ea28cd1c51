"""What a connection costs the server in resident memory."""

from dataclasses import dataclass

from labkit.bench.contestants import Contestant, serving
from labkit.bench.load import held, load

CONNECTIONS = 10_000


@dataclass(frozen=True)
class Memory:
    connections: int
    empty_bytes: int  # resident, before any of them; one client has been there
    held_bytes: int  # with all of them connected, each with one message behind it

    @property
    def per_connection(self) -> float:
        return (self.held_bytes - self.empty_bytes) / self.connections


def memory(contestant: Contestant, connections: int = CONNECTIONS) -> Memory:
    with serving(contestant) as server:
        load(server.port, 1, 100, warmup_ms=0)
        empty = server.program.resident_bytes()
        with held(server.port, connections):
            return Memory(connections, empty, server.program.resident_bytes())
