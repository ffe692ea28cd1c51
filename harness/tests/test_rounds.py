"""Our own server takes turns: a client that is never out of messages makes nobody wait whose packet lies in the port.

The contract does not ask for this, and a program with one packet for each request has it anyway. Ours goes on without
packets where it can, so its worker must look at the port again and again, however much there is to do.
"""

from collections import Counter
from pathlib import Path

import pytest

from labkit import builder, paths
from labkit.echo import EchoServer
from labkit.errata import Edit
from labkit.errors import HarnessError, Rejected
from labkit.graded import FOLDER, build_graded
from labkit.program import Run
from labkit.prove import copy_with_edits
from labkit.subject import Subject, under_test
from labkit.trace import Trace, read_trace
from labkit.trace_model import DEQUEUES
from labkit.verdict import expect_exit_code, reject_unless

pytestmark = pytest.mark.skipif(builder.PRESET != "mingw", reason="the probe is built with mingw-w64")

NO_BOUND = Edit("iocp_network.hpp", "for (int i = 0; i < turns && !ready_.empty(); ++i)", "while (!ready_.empty())")

MOST_TURNS = 32  # what work() allows itself beside the packets of a round
WITHOUT_PAUSE = bytes(256 << 10)


def built(source: Path, folder: Path) -> Path:
    """With the probe; the server's own source, or a copy's."""
    builder.build("probe")
    built = build_graded(source, "iocp_network", folder)
    if built.executable is None:
        raise HarnessError(f"{source} does not compile:\n{built.said}")
    return built.executable


def most_turns(trace: Trace) -> int:
    """The longest that a worker went on without a look at the port: its receives since it had looked, beside the one
    for each packet that it found there."""
    brought = Counter(packet.call.seq for packet in trace.packets)
    left: dict[int, int] = {}  # for each worker: turns so far, less its packets
    most = 0
    for call in trace.calls:
        if call.name in DEQUEUES:
            left[call.thread] = -brought[call.seq]
        elif call.name == "WSARecv" and call.thread in left:
            left[call.thread] += 1
            most = max(most, left[call.thread])
    return most


def serve_one_without_pause() -> Run:
    with EchoServer("--quiet", "--threads", "1") as server:
        with server.connect() as client:
            came = client.echo(WITHOUT_PAUSE)
        result = server.stop()
    expect_exit_code(result, 0)
    reject_unless(came == WITHOUT_PAUSE, result, expected=f"{len(WITHOUT_PAUSE)} bytes back", came=f"{len(came)}")
    return result


def expect_rounds(executable: Path) -> None:
    with under_test(Subject("rounds", "iocp_network", executable)):
        result = serve_one_without_pause()
        assert result.trace is not None
        turns = most_turns(read_trace(result.trace))
    reject_unless(
        turns <= MOST_TURNS,
        result,
        expected=f"at most {MOST_TURNS} turns between two looks at the port, and one for each packet",
        came=f"{turns} turns more than packets",
    )


def test_the_server_looks_at_the_port_again_and_again() -> None:
    """Between two looks at the port there are at most 32 turns, and one for each packet, while a client sends much."""
    expect_rounds(built(paths.ROOT / "05_iocp_network" / "main.cpp", FOLDER / "rounds" / "ours"))


def test_a_server_that_does_not_is_seen() -> None:
    """Without that bound it goes on for as long as there is something to do, which is seen in its calls."""
    folder = FOLDER / "rounds" / "no_bound"
    program = built(copy_with_edits("iocp_network", [NO_BOUND], folder, Path(__file__).name), folder)
    with pytest.raises(Rejected, match="turns more than packets"):
        expect_rounds(program)
