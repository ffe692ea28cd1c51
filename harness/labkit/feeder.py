"""The far end of named pipes: a check decides when a read has data, stays without, or loses its peer."""

import itertools
import os
import subprocess
import threading
import time
from pathlib import Path
from types import TracebackType

from labkit import paths, patience
from labkit.errors import HarnessError
from labkit.program import Program

# What a write says when there is nobody at the other end: no data, broken pipe, not connected; nobody has opened it
# yet.
NO_READER = (232, 109, 233, 536)


class CannotFeed(HarnessError):
    """The feeder could not carry out a line."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code  # of the Win32 call that failed


class Feeder:
    """One pipe_feeder.exe. It makes any number of pipes; what each command means stands in pipe_feeder.cpp."""

    def __init__(self) -> None:
        self._program = Program(paths.PIPE_FEEDER, stdin=subprocess.PIPE)
        if self._program.wait_for_line("ready") is None:
            raise HarnessError(f"the pipe feeder did not start: {self._program.text('stderr')}")
        self._answers = 1
        self._speaking = threading.Lock()  # a check may run several programs at the same time
        self._names = (f"lab-{os.getpid()}-{number}" for number in itertools.count(1))

    def __enter__(self) -> "Feeder":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._program.end()

    def tell(self, command: str) -> str:
        """Sends one line and returns the answer's first word. Raises CannotFeed if it was not carried out."""
        stdin = self._program.process.stdin
        assert stdin is not None
        with self._speaking:
            try:
                stdin.write(f"{command}\n".encode())
                stdin.flush()
            except OSError as error:
                raise HarnessError(f"the pipe feeder is gone: {error}") from error
            self._answers += 1
            if not self._program.wait_for(lambda text: text.count("\n") >= self._answers):
                raise HarnessError(f"the pipe feeder did not answer: {command[:80]}")
            answer = self._program.text().splitlines()[self._answers - 1]
        if answer.startswith("error"):
            raise CannotFeed(f"the pipe feeder: {command[:80]}: {answer}", int(answer.split(" : ")[2]))
        return answer.split()[0]

    def pipe(self) -> "FedPipe":
        """A new pipe that nobody has opened yet."""
        with self._speaking:
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

    def wait_until_opened(self, program: Program) -> bool:
        """True once the program has opened the pipe; False when it has ended, or hangs, without having done so."""
        deadline = time.monotonic() + patience.seconds()
        while self._feeder.tell(f"connect {self._name} 100") == "waiting":
            if program.has_ended() or time.monotonic() > deadline:
                return False
        return True

    def write(self, data: bytes) -> None:
        """Puts the data into the pipe. If there is no reader, nobody takes it: the program's own output tells why."""
        try:
            self._feeder.tell(f"write {self._name} {data.hex()}")
        except CannotFeed as failure:
            if failure.code not in NO_READER:
                raise

    def close(self) -> None:
        self._feeder.tell(f"close {self._name}")


def resident_with_two_blocks(feeder: Feeder, executable: Path, block: int) -> int | None:
    """The memory of an iocp_files that has asked for two blocks of a pipe, has reported one, and waits for the other:
    what it needs before it has read much. None if it never reports."""
    pipe = feeder.pipe()
    with Program(executable, "--blocks", "2", "--block", str(block), pipe.path) as program:
        pipe.wait_until_opened(program)
        pipe.write(bytes(block))  # so that the code for a whole read has been brought in
        return program.resident_bytes() if program.wait_for_line("COMPLETE : ") is not None else None
