"""Reading what the probe wrote down, whole or cut short."""

from pathlib import Path

import pytest

from labkit.errors import HarnessError
from labkit.trace import parse_trace, read_trace
from traces import trace_of

PENDING_READ = """
main CreateEventW 0 1 0 0 -> 34
main ReadFile 30 b0 1000 0 f0 ov=f0 ov_in=heap:1 buf=b0 buf_in=heap:2 len=1000 off=0 event=34 -> 0 997
"""


def test_a_call_is_read_with_all_it_says() -> None:
    """Arguments, facts, result, error and what came are those of the lines."""
    trace = trace_of("t2 GetQueuedCompletionStatus 30 a b c ffffffff ov_before=7 -> 1 5 bytes=10 key=64 ov=f0")
    (call,) = trace.calls
    assert (call.thread, call.name, call.arguments) == (2, "GetQueuedCompletionStatus", (0x30, 10, 11, 12, 0xFFFFFFFF))
    assert (call.fact("ov_before"), call.result, call.error) == (7, 1, 5)
    assert (call.came_fact("bytes"), call.came_fact("key"), call.came_fact("ov")) == (0x10, 100, 0xF0)
    assert trace.base == 0x140000000 and trace.ended_in_order


def test_a_call_without_a_return_is_under_way() -> None:
    """A call whose `done` is missing had not returned."""
    trace = trace_of("main WaitForSingleObject 34 ffffffff", ends=False)
    assert trace.calls[0].is_under_way and not trace.ended_in_order


def test_a_damaged_line_is_left_out() -> None:
    """A line that was cut, or is none of a trace, is kept aside; the others are read."""
    trace = parse_trace("nonsense\nnote\t1\t1\t0\texit\ncall\t2\t1")
    assert trace.damaged == ["nonsense", "call\t2\t1"] and trace.ended_in_order


def test_a_full_file_is_known_as_such(tmp_path: Path) -> None:
    """A trace whose file had no more room says so, and what follows the zeros is not looked for."""
    file = tmp_path / "a.trace"
    text = b"note\t1\t1\t0\tbegin\tbase=1\nfull\n"
    file.write_bytes(len(text).to_bytes(8, "little") + text + bytes(4096))
    assert read_trace(file).is_full and read_trace(file).base == 1


@pytest.mark.parametrize("content", [None, b"1234"])
def test_what_is_no_trace_is_the_harness_s_failure(tmp_path: Path, content: bytes | None) -> None:
    """A file that is not there or too short is no verdict against a program."""
    if content is not None:
        (tmp_path / "a.trace").write_bytes(content)
    with pytest.raises(HarnessError):
        read_trace(tmp_path / "a.trace")


@pytest.mark.parametrize(
    ("look", "owned"),
    [
        ("t2 GetOverlappedResult 30 f0 c 1 -> 1 0 bytes=1000", False),
        ("t2 GetOverlappedResult 30 f0 c 1 -> 0 995", False),
        ("t2 GetOverlappedResult 30 f0 c 0 -> 0 996", True),
        ("t2 WaitForSingleObject 34 ffffffff -> 0", False),
        ("t2 WaitForSingleObject 34 10 -> 102", True),
        ("t2 GetQueuedCompletionStatus 40 a b c 0 ov_before=0 -> 0 38 bytes=0 key=64 ov=f0", False),
        ("t2 GetQueuedCompletionStatus 40 a b c 0 ov_before=0 -> 0 258 bytes=0 key=0 ov=0", True),
        ("t2 CancelIoEx 30 f0 -> 1", True),
    ],
)
def test_the_kernel_owns_a_request_until_its_end_was_seen(look: str, owned: bool) -> None:
    """A result, a dequeue or a wait that tells the end hands a request back; a timeout or a cancel does not."""
    (request,) = trace_of(PENDING_READ + look).requests
    assert (request.owned_until is None) == owned


def test_handles_live_from_their_making_to_their_close() -> None:
    """The same value may be two handles, one after the other."""
    trace = trace_of(
        "main CreateEventW 0 1 0 0 -> 34\nmain CloseHandle 34 -> 1\nmain CreateFileW 0 0 0 0 0 0 0 path=a -> 34"
    )
    assert [(handle.kind, handle.dead is None) for handle in trace.handles] == [("event", False), ("file", True)]
