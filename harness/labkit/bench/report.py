"""What was measured, as tables in the terminal and as JSON."""

import os
import platform
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from labkit.bench.contestants import OURS, PEERS
from labkit.bench.echo import ALL, FIGURES, Level, Spread
from labkit.bench.growth import COUNTS, Growth
from labkit.bench.load import MESSAGE_BYTES
from labkit.bench.memory import Memory
from labkit.bench.reader import BlockSize
from labkit.bench.wine_requests import Requests

# Raised with every change that a reader of the file could trip over.
JSON_VERSION = 1


@dataclass
class Results:
    levels: list[Level] = field(default_factory=list)
    requests: list[Requests] = field(default_factory=list)
    memory: dict[str, Memory] = field(default_factory=dict)
    blocks: list[BlockSize] = field(default_factory=list)
    growth: Growth | None = None


def show(results: Results) -> None:
    console = Console(width=None if Console().is_terminal else 140)
    for table in (_echo(results), _requests(results), _memory(results), _reader(results), _growth(results)):
        if table.row_count:
            title, table.title = table.title, None  # which rich would break to the table's width
            console.print(title, style="italic")
            console.print(table, end="\n\n")


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, box=None, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right")
    return table


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _spread(spread: Spread) -> str:
    return f"{spread.median:.2f} ({spread.low:.2f} to {spread.high:.2f})"


def _echo(results: Results) -> Table:
    rounds = len(results.levels[0].rounds) if results.levels else 0
    title = f"echo, {MESSAGE_BYTES} bytes: medians of {rounds} rounds, times in microseconds; "
    title += "and ours over the better peer's, quartiles"
    table = _table(title, "server", "clients", *FIGURES)
    for level in results.levels:
        for contestant in ALL:
            values = [_number(level.spread(contestant.name, figure).median) for figure in FIGURES.values()]
            table.add_row(contestant.name, str(level.connections), *values)
        ratios = [_spread(level.ratio(figure)) for figure in FIGURES.values()]
        table.add_row(f"  ours / {level.better_peer}", "", *ratios, style="bold", end_section=True)
    return table


def _requests(results: Results) -> Table:
    title = "requests of Wine's server for one message"
    table = _table(title, "server", "clients", "each message", "requests", "most of them")
    for counted in results.requests:
        most = ", ".join(f"{kind} {share:.2f}" for kind, share in list(counted.by_name.items())[:7])
        message = "is waited for" if counted.receives_wait else "is there already"
        table.add_row(counted.server, str(counted.connections), message, f"{counted.per_message:.2f}", most)
    return table


def _memory(results: Results) -> Table:
    table = _table("resident memory", "server", "clients", "empty, MiB", "with them, MiB", "each, KiB")
    for name, memory in results.memory.items():
        mib = (f"{size / (1 << 20):.1f}" for size in (memory.empty_bytes, memory.held_bytes))
        table.add_row(name, f"{memory.connections:,}", *mib, f"{memory.per_connection / 1024:.2f}")
    return table


def _reader(results: Results) -> Table:
    title = "iocp_files --blocks 0 beside a loop of blocking reads that prints the same lines"
    table = _table(title, "block", "file, MiB", "rate / the loop's", "memory grown, MiB", "allowed, MiB")
    for size in results.blocks:
        mib = (f"{value / (1 << 20):.1f}" for value in (size.grown_bytes, size.allowed_bytes))
        table.add_row(f"{size.block_bytes:,}", f"{size.file_bytes >> 20:,}", _spread(size.ratio), *mib)
    return table


def _growth(results: Results) -> Table:
    few, half, many = (f"{count:,}" for count in COUNTS)
    table = _table("what one read of many costs in iocp_files", "reads", "time / that of as many before them")
    if results.growth:
        table.add_row(f"from {half} to {many} (the first {few} left out)", _spread(results.growth.ratio))
    return table


def as_json(results: Results) -> dict[str, Any]:
    """`version`; `machine`; `echo`: at each number of connections every round's measurements by server, the better
    peer, and the ratios to it; `requests`, `memory`, `reader`, `growth`. Times in microseconds, sizes in bytes."""
    return {
        "version": JSON_VERSION,
        "machine": {"processors": os.cpu_count(), "system": platform.platform()},
        "contestants": {"ours": OURS.name, "peers": [peer.name for peer in PEERS]},
        "echo": [
            {
                "connections": level.connections,
                "rounds": [{name: asdict(load) for name, load in loads.items()} for loads in level.rounds],
                "better_peer": level.better_peer,
                "ratios": {name: asdict(level.ratio(figure)) for name, figure in FIGURES.items()},
            }
            for level in results.levels
        ],
        "requests": [asdict(counted) for counted in results.requests],
        "memory": [
            {"server": name, **asdict(memory), "per_connection": memory.per_connection}
            for name, memory in results.memory.items()
        ],
        "reader": [
            {**asdict(size), "ratio": asdict(size.ratio), "grown_bytes": size.grown_bytes} for size in results.blocks
        ],
        "growth": (
            {"reads": COUNTS, **asdict(results.growth), "ratio": asdict(results.growth.ratio)}
            if results.growth
            else None
        ),
    }
