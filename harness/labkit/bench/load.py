"""Loading a server: echo_load, and what it has measured."""

import contextlib
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from labkit.bench.contestants import LOAD
from labkit.errors import HarnessError

MESSAGE_BYTES = 64
WARMUP_MS = 1000


@dataclass(frozen=True)
class Load:
    """One measurement. Times are a message's way there and back, in microseconds."""

    messages: int
    seconds: float
    p50_us: int
    p99_us: int
    max_us: int

    @property
    def per_second(self) -> float:
        return self.messages / self.seconds


def _words(port: int, connections: int, measure_ms: int, warmup_ms: int = WARMUP_MS) -> list[str]:
    return [str(LOAD), *map(str, (port, connections, MESSAGE_BYTES, warmup_ms, measure_ms))]


def load(port: int, connections: int, measure_ms: int, warmup_ms: int = WARMUP_MS) -> Load:
    """So many clients at once, each sending its next message when it has its last one back."""
    words = _words(port, connections, measure_ms, warmup_ms)
    try:
        result = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120 + measure_ms / 1000)
    except subprocess.TimeoutExpired as error:
        raise HarnessError(f"{connections} clients never had all their messages back") from error
    if result.returncode != 0:
        raise HarnessError(f"{connections} clients: {result.stderr.strip()}")
    return Load(**json.loads(result.stdout))


@contextlib.contextmanager
def held(port: int, connections: int) -> Iterator[None]:
    """So many clients, each of which has had one message back and stays connected."""
    words = [*_words(port, connections, 0), "hold"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        try:
            if process.stdout.readline().strip() != b"holding":
                raise HarnessError(f"{connections} clients: {process.stderr.read().decode().strip()}")
            yield
        finally:
            process.stdin.close()  # they go
