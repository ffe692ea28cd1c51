"""The far end of named pipes: a check decides when a read has data, stays without, or loses its peer."""

import itertools
import os
import subprocess
from types import TracebackType

from labkit import paths
from labkit.errors import HarnessError
from labkit.program import PATIENCE_S, Program


class Feeder:
    """One pipe_feeder.exe. It makes any number of pipes; what each command means stands in pipe_feeder.cpp."""

    def __init__(self) -> None:
        self._program = Program(paths.PIPE_FEEDER, stdin=subprocess.PIPE)
        self._answers = 0
        self._names = (f"lab-{os.getpid()}-{number}" for number in itertools.count(1))

    def __enter__(self) -> "Feeder":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._program.end()

    def tell(self, command: str, patience_s: float = PATIENCE_S) -> None:
        """Sends one line and returns when it was carried out. Raises HarnessError if it was not."""
        stdin = self._program.process.stdin
        assert stdin is not None
        try:
            stdin.write(f"{command}\n".encode())
            stdin.flush()
        except OSError as error:
            raise HarnessError(f"the pipe feeder is gone: {error}") from error
        self._answers += 1
        if not self._program.wait_for(lambda text: text.count("\n") >= self._answers, patience_s):
            raise HarnessError(f"the pipe feeder did not answer: {command[:80]}")
        answer = self._program.text().splitlines()[self._answers - 1]
        if answer.startswith("error"):
            raise HarnessError(f"the pipe feeder: {command[:80]}: {answer}")

    def pipe(self) -> "FedPipe":
        """A new pipe that nobody has opened yet."""
        name = next(self._names)
        self.tell(f"create {name}")
        return FedPipe(self, name)


class FedPipe:
    """The server's end of one pipe."""

    def __init__(self, feeder: Feeder, name: str) -> None:
        self._feeder = feeder
        self._name = name

    @property
    def path(self) -> str:
        return rf"\\.\pipe\{self._name}"

    def wait_until_opened(self) -> None:
        self._feeder.tell(f"connect {self._name}")

    def write(self, data: bytes) -> None:
        self._feeder.tell(f"write {self._name} {data.hex()}")

    def close(self) -> None:
        self._feeder.tell(f"close {self._name}")
