"""Running one program: bounded, line by line, and never left behind."""

import os
import re
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

import psutil

from labkit import patience, runtime, subject
from labkit.errors import HarnessError, Rejected
from labkit.trace import read_trace

# A program that prints more than this is ended.
MOST_OUTPUT = 8 << 20


_falls = 0


def falls() -> int:
    """How many runs so far have ended as runtime.has_fallen_over tells, with nothing to tell how they would have ended.
    A check that such a run has failed is made again: see conftest.py."""
    return _falls


@dataclass(frozen=True)
class Run:
    """What a program left when it had ended."""

    command: str  # as a student would type it
    exit_code: int | None  # None: it had to be ended
    stdout: str
    stderr: str
    ended_because: str = ""  # why it had to be
    trace: Path | None = None  # what the probe has written down, if the program was built with it

    @property
    def lines(self) -> list[str]:
        return _lines_of(self.stdout)

    @property
    def error_lines(self) -> list[str]:
        return _lines_of(self.stderr)


class Program:
    """A running program. Use it in a with statement: whatever happens inside, the program is gone afterwards."""

    def __init__(
        self,
        executable: Path,
        *arguments: str,
        stdin: int = subprocess.DEVNULL,
        inject: str = "",
        processors: int = 0,
        judged: bool = True,
        environment: dict[str, str] | None = None,
    ) -> None:
        """`inject`: what the probe is to do to the program's calls; harness/probe tells the form. `processors`: how
        many it tells the program that there are; 0: the truth. `judged`: its trace is judged when the check has passed.
        `environment`: of another Wine than the lab's."""
        self.command = " ".join([executable.name, *(_quoted(a) for a in arguments)])
        self._executable, self._arguments, self._stdin = executable, arguments, stdin
        self._judged = judged
        self._environment = (environment or runtime.environment()) | {
            "LAB_INJECT": inject,
            "LAB_PROCESSORS": str(processors),
        }
        self._changed = threading.Condition()
        self._ended_because = ""
        self._may_start_again = runtime.STARTS_CAN_FAIL_SILENTLY
        self._start()

    def _start(self) -> None:
        if not self._executable.exists():
            raise _is_missing(self._executable, self.command)
        self._output: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        self._record = self._new_record()
        self._mark = subject.next_mark()
        environment = self._environment | {runtime.RUN_MARK: self._mark}
        if self._record is not None:
            environment["LAB_TRACE"] = runtime.path_for_program(self._record.trace)
        try:
            self.process = subprocess.Popen(
                runtime.command(self._executable, *self._arguments),
                env=environment,
                stdin=self._stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                **runtime.START_OPTIONS,  # type: ignore[call-overload]
            )
        except OSError as error:
            raise HarnessError(f"{self._executable} could not be started: {error}") from error
        runtime.limit_memory(self.process)
        self._readers = [
            threading.Thread(target=self._read, args=(name, stream), daemon=True)
            for name, stream in (("stdout", self.process.stdout), ("stderr", self.process.stderr))
        ]
        for reader in self._readers:
            reader.start()

    def _starts_again(self) -> bool:
        """Whether Wine, and not the program, may have ended it: with code 1 and without a word on either stream. Then
        it is started a second time, here.

        Seen a few times in some hundred thousand starts, on a busy machine. A program that is silent by its own doing
        is so again: nothing is excused by asking twice.
        """
        if not self._may_start_again or any(self._output.values()):
            return False
        for reader in self._readers:
            reader.join(1)
        if any(self._output.values()) or self._exit_code_soon() != 1:
            return False
        self._may_start_again = False
        if self._record is not None:
            subject.forget(self._record)
        self._start()
        return True

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.end()

    def _new_record(self) -> subject.RecordedRun | None:
        recording = subject.current()
        if recording is None or recording.subject.executable != self._executable:
            return None
        record = subject.RecordedRun(self.command, recording.new_trace(), judged=self._judged)
        recording.runs.append(record)
        return record

    @property
    def trace(self) -> Path | None:
        return self._record.trace if self._record is not None else None

    def _read(self, name: str, stream: IO[bytes]) -> None:
        while chunk := os.read(stream.fileno(), 65536):
            with self._changed:
                kept = self._output[name]
                kept += chunk[: MOST_OUTPUT - len(kept)]
                too_much = len(kept) >= MOST_OUTPUT
                self._changed.notify_all()
            if too_much:
                self.end(f"it printed more than {MOST_OUTPUT >> 20} MiB")
        with self._changed:
            self._changed.notify_all()

    def text(self, name: str = "stdout") -> str:
        """What it has printed so far."""
        with self._changed:
            # Windows programs may end lines with \r\n; a byte that is not UTF-8 shows as \xNN.
            return bytes(self._output[name]).decode("utf-8", errors="backslashreplace").replace("\r\n", "\n")

    def wait_for(self, said: Callable[[str], bool], patience_s: float | None = None, name: str = "stdout") -> bool:
        """True as soon as what it has printed satisfies `said`; False when it ended, or ran out of patience, first."""
        deadline = time.monotonic() + (patience.seconds() if patience_s is None else patience_s)
        while not said(self.text(name)):
            left = deadline - time.monotonic()
            if not any(reader.is_alive() for reader in self._readers):
                if self._starts_again():
                    continue
                return said(self.text(name))
            if left <= 0:
                if patience_s is None:
                    patience.ran_out()
                return False
            with self._changed:
                self._changed.wait(min(left, 0.2))
        return True

    def wait_for_line(self, start: str, patience_s: float | None = None) -> str | None:
        """The first whole line of stdout that starts so, or None when there will be none."""
        pattern = re.compile(rf"^{re.escape(start)}.*(?=\n)", re.MULTILINE)
        self.wait_for(lambda text: pattern.search(text) is not None, patience_s)
        match = pattern.search(self.text())
        return match.group(0) if match else None

    def interrupt(self) -> None:
        """Ctrl-C, or what comes nearest on this system."""
        self._may_start_again = False  # nobody would stop it a second time
        runtime.interrupt(self.process)

    def resident_bytes(self) -> int:
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def _exit_code_soon(self) -> int | None:
        """Its streams may be closed a moment before it has ended. None: it runs on."""
        return self.process.returncode if self.ends_within(1) else None

    def ends_within(self, seconds: float) -> bool:
        """Waits for its end, and no longer than that."""
        return runtime.wait_for_end(self.process, seconds)

    def has_ended(self) -> bool:
        return self.process.poll() is not None and not self._starts_again()

    def wait(self, patience_s: float | None = None) -> Run:
        """Waits for its end, or ends it."""
        seconds = patience.seconds() if patience_s is None else patience_s
        if not self.ends_within(seconds):
            if patience_s is None:
                patience.ran_out()
            self.end(f"it had not ended after {seconds:g} s")
        for reader in self._readers:
            reader.join(1)
            if reader.is_alive():  # something it has started keeps the pipe open
                runtime.end_all_marked(self._mark)
                reader.join(5)
        if self._starts_again():
            return self.wait(patience_s)
        exit_code, stderr = None if self._ended_because else self.process.returncode, self.text("stderr")
        if exit_code is not None and runtime.has_fallen_over(exit_code, stderr):
            exit_code, stderr = self._before_the_fall(exit_code, stderr)
        if self._record is not None:
            self._record.hang = bool(self._ended_because)
        return Run(self.command, exit_code, self.text("stdout"), stderr, self._ended_because, self.trace)

    def _before_the_fall(self, exit_code: int, stderr: str) -> tuple[int, str]:
        """The program's own exit code, which the probe took down when everything of the program was over, and its
        stderr without Wine's words; without the probe both stay what they are, and the run counts as a fall."""
        noted = read_trace(self.trace).exit_code if self.trace is not None and self.trace.exists() else None
        if noted is None:
            global _falls
            _falls += 1
            return exit_code, stderr
        return noted & 0xFF, runtime.without_words_of_a_fall(stderr)  # of which Linux passes on eight bits

    def end(self, because: str = "it was no longer needed") -> None:
        """Kills it, with everything it has started."""
        self._may_start_again = False
        if self.process.poll() is not None:
            return
        self._ended_because = self._ended_because or because
        try:
            family = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            family = []
        self.process.kill()
        for child in family:
            if child.is_running():
                child.kill()
        self.process.wait()


def _is_missing(executable: Path, command: str) -> Exception:
    """What a missing executable means: the program under test was there when its checks began."""
    recording = subject.current()
    if recording is None or recording.subject.executable != executable:
        return HarnessError(f"{executable} is not there: it was not built")
    came = f"{executable.name} is gone: in an earlier run it has deleted, moved or renamed itself"
    return Rejected([("asked", command), ("expected", "the program is left as it is"), ("came", came)], ())


def run(
    executable: Path,
    *arguments: str,
    patience_s: float | None = None,
    inject: str = "",
    processors: int = 0,
    judged: bool = True,
) -> Run:
    """Starts a program and waits for its end."""
    with Program(executable, *arguments, inject=inject, processors=processors, judged=judged) as program:
        return program.wait(patience_s)


def _lines_of(text: str) -> list[str]:
    """Not splitlines, which breaks a line at characters that a client may have sent, too."""
    return text.removesuffix("\n").split("\n") if text else []


def _quoted(argument: str) -> str:
    return f'"{argument}"' if not argument or " " in argument else argument
