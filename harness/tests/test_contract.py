"""Reading a program's lines: what is read from a right output, and what is not read from a wrong one."""

import pytest

from labkit.contract import BlockLine, block_report, call_errors, hex_of, out_of_form, read_report
from labkit.program import Run

GOOD_STAGE_2 = """main : pending
Main Continue ..
foo : I/O Complete
error : 0
bytes : 3
main : data : 61 62 63
"""


def printed(stdout: str, stderr: str = "") -> Run:
    return Run("program.exe", 0, stdout, stderr)


def test_a_good_report_is_read() -> None:
    """Every line of stage 2 is found, and nothing else is made of them."""
    report = read_report(2, printed(GOOD_STAGE_2))
    assert (report.started, report.complete, report.main_continue) == ("pending", True, True)
    assert (report.error, report.bytes, report.data) == (0, 3, "61 62 63")


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("main : pending", "started"),
        ("foo : I/O Complete", "complete"),
        ("error : 0", "error"),
        ("bytes : 3", "bytes"),
        ("main : data : 61 62 63", "data"),
        ("Main Continue ..", "main_continue"),
    ],
)
def test_a_missing_line_is_missed(line: str, field: str) -> None:
    """Without its line, a fact is not there."""
    report = read_report(2, printed(GOOD_STAGE_2.replace(line + "\n", "")))
    assert getattr(report, field) in (None, False)


@pytest.mark.parametrize("wrong", ["error : -1", "error : 0x26", "error :", "error : 38 bytes", "error: 38"])
def test_a_number_is_decimal(wrong: str) -> None:
    """Anything but a decimal number is none."""
    assert read_report(1, printed(wrong + "\n")).error is None


def test_who_speaks_matters() -> None:
    """Stage 1's own label for the data is not stage 2's."""
    assert read_report(2, printed("data : 61 62\n")).data is None
    assert read_report(1, printed("foo : I/O Complete\n")).complete is False


def test_errors_are_read_without_suffixes() -> None:
    """CreateFileW is CreateFile, CancelIoEx is CancelIo, WSASocketW is WSASocket; the text is free."""
    run = printed("", "error : CreateFileW : 2 : gone\nerror : CancelIoEx : 6 : x\nerror : WSASocketW : 1 : y\nnoise\n")
    assert [(error.call, error.code) for error in call_errors(run)] == [
        ("CreateFile", 2),
        ("CancelIo", 6),
        ("WSASocket", 1),
    ]


@pytest.mark.parametrize(
    "wrong", ["error : CreateFile : two : gone", "CreateFile : 2 : gone", "error : CreateFile : 2"]
)
def test_other_lines_are_no_errors(wrong: str) -> None:
    """A line of another form names no call."""
    assert call_errors(printed("", wrong)) == []


def test_blocks_are_read() -> None:
    """COMPLETE, FAILED and done are read, with keys where there are keys."""
    report = block_report(
        printed(
            "Main Continue ..\nCOMPLETE : 100, 1, 2 : 4d 5a\nFAILED : 200, 3, 38 : End of file.\n"
            "done : 2 reads, 2 bytes, 1 failed\n"
        ),
        keys=True,
    )
    assert report.blocks == [BlockLine(100, 1, bytes=2, data="4d 5a"), BlockLine(200, 3, error=38)]
    assert report.done == (2, 2, 1)
    assert report.unreadable == []


@pytest.mark.parametrize(
    "line",
    [
        "COMPLETE : 1, 4096 : 4d",
        "COMPLETE : 100, 1, 4096",
        "COMPLETE : 100, 1, 2 : 4d 5aCOMPLETE : 100, 2, 2 : 4d 5a",
        "COMPLETE : 100, 1, 4096 : 4D 5A",
        "FAILED : 100, 1, 38",
        "done : 2 reads, 1 failed",
        "anything else",
    ],
)
def test_other_lines_are_unreadable(line: str) -> None:
    """Lines that ran into each other, lack a part or are something else are told apart."""
    assert block_report(printed(line + "\n"), keys=True).unreadable == [line]


def test_hex_is_eight_bytes() -> None:
    """Of more than eight bytes the first eight are shown."""
    assert hex_of(bytes(range(10))) == "00 01 02 03 04 05 06 07"
    assert hex_of(b"\xff") == "ff"


def test_a_good_report_is_in_form() -> None:
    """Its lines are there once, main's and foo's in order; between them any order, and further lines, go."""
    assert out_of_form(2, printed(GOOD_STAGE_2), data=True) is None
    main, foo = [0, 1, 5], [2, 3, 4]
    lines = GOOD_STAGE_2.splitlines()
    mixed = [lines[i] for i in (main[0], foo[0], foo[1], main[1], foo[2], main[2])]
    assert out_of_form(2, printed("\n".join(["hello", *mixed, "bye"])), data=True) is None


def test_a_line_twice_or_at_the_wrong_place_is_told() -> None:
    """The line that is missing, twice there, or too early is named."""
    lines = GOOD_STAGE_2.splitlines()
    twice = out_of_form(2, printed("\n".join([*lines, lines[3]])), data=True)
    assert twice == ("one line that begins with error", "2 such lines")
    early = out_of_form(2, printed("\n".join([lines[4], *lines[:4], lines[5]])), data=True)
    assert early == ("the line bytes after error", "it stands before it")
    missing = out_of_form(2, printed("\n".join(lines[1:])), data=True)
    assert missing == ("one line that begins with main : pending or main : completed at once", "no such line")
