"""The manifest of the stages: which programs there are and where they stand."""

from dataclasses import dataclass
from pathlib import Path

from labkit import paths, subject


@dataclass(frozen=True)
class Stage:
    number: int
    folder: str
    programs: tuple[str, ...]
    question: str


STAGES = (
    Stage(1, "01_event_wait", ("event_wait",), "What does a thread do while it waits for its own read?"),
    Stage(2, "02_thread_wait", ("thread_wait",), "Another thread waits: but where is the data?"),
    Stage(3, "03_overlapped_plus", ("overlapped_plus",), "The data comes along: but a thread per request?"),
    Stage(4, "04_iocp_files", ("four_reads", "iocp_files"), "Many reads: who takes the next one that is ready?"),
    Stage(5, "05_iocp_network", ("iocp_network",), "And clients, who come and speak when they like?"),
)


def stage_named(name: str) -> Stage:
    """The stage by number ("4"), folder ("04_iocp_files") or program ("four_reads"). Raises KeyError."""
    for stage in STAGES:
        if name.rstrip("/\\") in (str(stage.number), stage.folder, *stage.programs):
            return stage
    raise KeyError(name)


def executable(program: str) -> Path:
    """What stands behind the name: the program under test, or else our own plain one."""
    under_test = subject.current()
    if under_test is not None and under_test.subject.program == program:
        return under_test.subject.executable
    return paths.PROGRAMS / f"{program}.exe"
