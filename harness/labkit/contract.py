"""What a program's output says, read by its labels. CONTRACT.md tells students; this module reads it."""

import re
from dataclasses import dataclass

from labkit.program import Run

# Win32 codes the checks speak of.
FILE_NOT_FOUND = 2
END_OF_FILE = 38
INVALID_PARAMETER = 87
BROKEN_PIPE = 109
OPERATION_ABORTED = 995
DEVICE_ERROR = 1117

ERROR_LINE = re.compile(r"^error : (?P<call>\w+) : (?P<code>\d+) : (?P<text>.+)$")

# The suffixes of a call's name are free: CreateFile is CreateFileW, ReadFile is ReadFileEx.
SUFFIX = re.compile(r"(ExW|ExA|Ex|W|A)$")


@dataclass(frozen=True)
class CallError:
    """A line `error : CALL : CODE : system text` on stderr."""

    call: str  # without the suffixes A, W and Ex
    code: int


def call_errors(run: Run) -> list[CallError]:
    matches = (ERROR_LINE.match(line) for line in run.error_lines)
    return [CallError(SUFFIX.sub("", m["call"]), int(m["code"])) for m in matches if m]


@dataclass(frozen=True)
class ReadReport:
    """What a program of stages 1 to 3 said about its read. None: it did not say."""

    started: str | None  # "pending" or "completed at once"
    complete: bool  # its line `... : I/O Complete`
    error: int | None
    bytes: int | None
    data: str | None
    main_continue: bool

    def __str__(self) -> str:
        said = [f"main : {self.started}"] if self.started else []
        said += ["Main Continue .."] if self.main_continue else []
        said += ["I/O Complete"] if self.complete else []
        said += [
            f"{label} : {value}"
            for label, value in (("error", self.error), ("bytes", self.bytes), ("data", self.data))
            if value is not None
        ]
        return ", ".join(said) or "nothing"


# Who says that the read is complete, and who shows the data, stage by stage.
COMPLETE_LABEL = {1: "main : I/O Complete", 2: "foo : I/O Complete", 3: "foo : I/O Complete"}
DATA_LABEL = {1: "data : ", 2: "main : data : ", 3: "data : "}


def read_report(stage: int, run: Run) -> ReadReport:
    def number(label: str) -> int | None:
        found = [line.removeprefix(label) for line in run.lines if line.startswith(label)]
        return int(found[0]) if found and found[0].isascii() and found[0].isdigit() else None

    data = [line.removeprefix(DATA_LABEL[stage]) for line in run.lines if line.startswith(DATA_LABEL[stage])]
    started = [how for how in ("pending", "completed at once") if f"main : {how}" in run.lines]
    return ReadReport(
        started=started[0] if started else None,
        complete=COMPLETE_LABEL[stage] in run.lines,
        error=number("error : "),
        bytes=number("bytes : "),
        data=data[0] if data else None,
        main_continue="Main Continue .." in run.lines,
    )


def _lines_of_a_read(stage: int, *, data: bool) -> list[list[tuple[str, ...]]]:
    """The lines about a read that was accepted, by how each may begin: main's in their order, and foo's."""
    started = ("main : pending", "main : completed at once")
    went_on = ("Main Continue ..",)
    ended = [(COMPLETE_LABEL[stage],), ("error : ",), ("bytes : ",)]
    shown = [(DATA_LABEL[stage],)] if data else []
    if stage == 1:
        return [[started, *ended, *shown]]
    if stage == 2:
        return [[started, went_on, *shown], ended]
    return [[started, went_on], [*ended, *shown]]


def out_of_form(stage: int, run: Run, *, data: bool) -> tuple[str, str] | None:
    """A line about an accepted read that is missing, is there twice, or stands in the wrong place: what is asked for,
    and what is there. None: all is in order. `data`: whether the data is to be shown."""
    for speaker in _lines_of_a_read(stage, data=data):
        before, last = "", -1
        for starts in speaker:
            name = " or ".join(start.rstrip(" :") for start in starts)
            found = [number for number, line in enumerate(run.lines) if line.startswith(starts)]
            if len(found) != 1:
                return f"one line that begins with {name}", f"{len(found)} such lines" if found else "no such line"
            if found[0] < last:
                return f"the line {name} after {before}", "it stands before it"
            before, last = name, found[0]
    return None


def hex_of(data: bytes) -> str:
    """The first eight bytes as a program prints them."""
    return data[:8].hex(" ")


@dataclass(frozen=True)
class BlockLine:
    """A line of stage 4: COMPLETE with the data's first bytes, or FAILED with a code. four_reads has no key."""

    key: int | None
    id: int
    bytes: int | None = None
    data: str | None = None
    error: int | None = None

    def __str__(self) -> str:
        """As a program prints it."""
        where = f"{self.key}, {self.id}" if self.key is not None else f"{self.id}"
        if self.error is not None:
            return f"FAILED : {where}, {self.error} : ..."
        return f"COMPLETE : {where}, {self.bytes} : {self.data}"


@dataclass(frozen=True)
class BlockReport:
    blocks: list[BlockLine]
    done: tuple[int, int, int] | None  # reads, bytes, failed
    unreadable: list[str]  # lines that are none of the contract's


COMPLETE = re.compile(r"^COMPLETE : (?:(\d+), )?(\d+), (\d+) : ((?:[0-9a-f]{2}(?: [0-9a-f]{2})*)?)$")
FAILED = re.compile(r"^FAILED : (?:(\d+), )?(\d+), (\d+) : .+$")
DONE = re.compile(r"^done : (\d+) reads, (\d+) bytes, (\d+) failed$")


def block_report(run: Run, *, keys: bool) -> BlockReport:
    """Stage 4's lines; `keys` says whether COMPLETE and FAILED carry one (iocp_files) or not (four_reads)."""
    blocks: list[BlockLine] = []
    done = None
    unreadable = []
    for line in run.lines:
        complete, failed, total = COMPLETE.match(line), FAILED.match(line), DONE.match(line)
        if complete and (complete[1] is not None) == keys:
            key = int(complete[1]) if keys else None
            blocks.append(BlockLine(key, int(complete[2]), bytes=int(complete[3]), data=complete[4]))
        elif failed and (failed[1] is not None) == keys:
            blocks.append(BlockLine(int(failed[1]) if keys else None, int(failed[2]), error=int(failed[3])))
        elif total:
            done = (int(total[1]), int(total[2]), int(total[3]))
        elif line != "Main Continue ..":
            unreadable.append(line)
    return BlockReport(blocks, done, unreadable)


SERVER_LINE = re.compile(
    r"listening : \S+|클라이언트 접속 : \S+|수신된 data : .*|closed : \S+" r"|stopped : \d+ clients, \d+ messages, \d+ bytes"
)
CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f]")


def foreign_lines(run: Run) -> list[str]:
    """Those of a server's lines that are none of the contract's, or that hold what must be escaped."""
    return [line for line in run.lines if not SERVER_LINE.fullmatch(line) or CONTROL_CHARACTER.search(line)]
