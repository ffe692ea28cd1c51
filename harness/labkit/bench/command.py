"""`lab bench`."""

import argparse
import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

from labkit import builder, paths, runtime, ui
from labkit.bench import echo, plot, reader, report
from labkit.bench.awake import processors_awake
from labkit.bench.contestants import OURS, PEERS
from labkit.bench.growth import measure_growth
from labkit.bench.memory import CONNECTIONS, memory
from labkit.bench.report import Results

FOLDER = paths.BUILD / "bench"


def parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="lab bench", description="The server and the reader beside their peers.")
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds of echo and of reading (7)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement of echo (2)")
    parser.add_argument("--awake", action="store_true", help="keep the processors from falling asleep meanwhile")
    parser.add_argument("--file-mib", type=int, default=1024, help="the file that is read (1024)")
    parser.add_argument(
        "--only", choices=PARTS, action="append", metavar="PART", help=f"one of {', '.join(PARTS)}; may be repeated"
    )
    parser.add_argument("--json", type=Path, default=FOLDER / "bench.json", metavar="F")
    parser.add_argument("--plot", type=Path, default=FOLDER / "bench.svg", metavar="F")
    return parser.parse_args(words)


def bench_command(words: list[str]) -> int:
    options = parse(words)
    builder.build("iocp_network", "iocp_files", "pipe_feeder")
    builder.build_bench()
    results = Results()
    with processors_awake() if options.awake else contextlib.nullcontext():
        for name, part in PARTS.items():
            if not options.only or name in options.only:
                part(results, options)
    report.show(results)
    _write(options.json, json.dumps(report.as_json(results), indent=1) + "\n")
    if results.levels:
        _write(options.plot, plot.svg(results.levels))
    return 0


def _write(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8", newline="\n")
    ui.say(f"written: {file}")


def _echo(results: Results, options: argparse.Namespace) -> None:
    with runtime.session(), ui.progress("measuring echo") as told:
        results.levels = echo.measure(options.rounds, int(options.seconds * 1000), told)


def _requests(results: Results, _options: argparse.Namespace) -> None:
    if sys.platform == "win32":  # there is no such server
        return
    from labkit.bench.wine_requests import requests_per_message, requests_when_waiting

    with ui.activity("counting requests of Wine's server"):
        results.requests += [requests_when_waiting(contestant) for contestant in echo.ALL]
        for connections in echo.CONNECTIONS:
            results.requests += [requests_per_message(contestant, connections) for contestant in (OURS, PEERS[0])]


def _memory(results: Results, _options: argparse.Namespace) -> None:
    with runtime.session(), ui.activity(f"connecting {CONNECTIONS:,} clients"):
        results.memory = {contestant.name: memory(contestant) for contestant in (OURS, PEERS[0])}


def _reader(results: Results, options: argparse.Namespace) -> None:
    with runtime.session(), ui.progress("measuring reads") as told:
        results.blocks = reader.measure(options.rounds, options.file_mib, told)
    with runtime.session(), ui.progress("measuring many reads") as told:
        results.growth = measure_growth(options.rounds, told)


PARTS: dict[str, Callable[[Results, argparse.Namespace], None]] = {
    "echo": _echo,
    "requests": _requests,
    "memory": _memory,
    "reader": _reader,
}
