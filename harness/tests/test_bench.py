"""What bench makes of its measurements; the measuring itself is tried by running it."""

import xml.etree.ElementTree as ElementTree

import pytest

from labkit.bench import plot
from labkit.bench.contestants import OURS, PEERS
from labkit.bench.echo import FIGURES, Level, Spread
from labkit.bench.growth import Growth
from labkit.bench.load import Load
from labkit.bench.memory import Memory
from labkit.bench.reader import BlockSize, Reading
from labkit.bench.report import Results, as_json, show
from labkit.bench.wine_requests import REQUEST, Requests


def a_round(ours: int, one_thread: int, two_threads: int) -> dict[str, Load]:
    """So many messages in two seconds each; the times follow from them."""
    names = (OURS.name, *(peer.name for peer in PEERS))
    counts = (ours, one_thread, two_threads)
    return {n: Load(c, 2.0, 1_000_000 // c, 3_000_000 // c, 9_000_000 // c) for n, c in zip(names, counts, strict=True)}


LEVEL = Level(50, [a_round(200, 50, 100), a_round(3000, 500, 1000), a_round(40, 10, 10)])


def test_ratios_are_taken_within_a_round() -> None:
    """A round in which the machine was slow counts like any other: only what ran in the same round is compared."""
    assert LEVEL.better_peer == PEERS[1].name
    ratio = LEVEL.ratio(FIGURES["messages/s"])
    assert ratio.median == pytest.approx(3.0)
    assert (ratio.low, ratio.high) == (pytest.approx(2.5), pytest.approx(3.5))


def test_one_round_has_no_spread() -> None:
    """The quartiles of one value are that value."""
    assert Spread.of([7.0]) == Spread(7.0, 7.0, 7.0)


def everything() -> Results:
    results = Results(levels=[LEVEL])
    results.requests.append(Requests(OURS.name, 50, False, 6.5, {"recv_socket": 1.0}))
    results.memory[OURS.name] = Memory(10_000, 10 << 20, 20 << 20)
    results.blocks.append(BlockSize(4096, 1 << 30, 9 << 20, [(Reading(2.0, 12 << 20), Reading(1.0, 1 << 20))]))
    results.growth = Growth([(0.5, 1.5, 2.75)])
    return results


def test_the_tables_show_what_was_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """Every figure is in the terminal: ratios, requests, memory, the reader's rate and growth, later reads."""
    show(everything())
    said = capsys.readouterr().out
    for wanted in ("3.00 (2.50 to 3.50)", "6.50", "1.02", "0.50 (0.50 to 0.50)", "3.0", "1.25 (1.25 to 1.25)"):
        assert wanted in said


def test_the_file_holds_every_round() -> None:
    """The JSON has all measurements, and the ratios made from them."""
    written = as_json(everything())
    assert [round[OURS.name]["messages"] for round in written["echo"][0]["rounds"]] == [200, 3000, 40]
    assert written["echo"][0]["ratios"]["messages/s"]["median"] == pytest.approx(3.0)
    assert written["memory"][0]["per_connection"] == pytest.approx(1048.576)
    assert written["reader"][0]["ratio"]["median"] == pytest.approx(0.5)
    assert written["growth"]["ratio"]["median"] == pytest.approx(1.25)
    assert [(counted["server"], counted["per_message"]) for counted in written["requests"]] == [(OURS.name, 6.5)]


def test_the_plot_is_one_picture_of_its_own() -> None:
    """The plot is well-formed, and needs nothing from outside."""
    drawn = plot.svg([LEVEL])
    root = ElementTree.fromstring(drawn)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "http" not in drawn.replace("http://www.w3.org/2000/svg", "")
    assert {OURS.name, "50 clients"} <= {text.text for text in root.iter("{http://www.w3.org/2000/svg}text")}


def test_a_request_is_counted_once() -> None:
    """Of Wine's log, requests are counted, and not their answers."""
    log = (
        b"0024: recv_socket( oob=0 )\n0024: recv_socket() = ALERTED { wait=007c }\n*killed*\n0028: select( flags=2 )\n"
    )
    assert REQUEST.findall(log) == [b"recv_socket", b"select"]
