"""`lab trace`: runs a stage, or a student's program, once, and draws who owned what."""

import argparse
import socket
from pathlib import Path

from labkit import builder, paths, patience, runtime
from labkit.errors import BuildFailed, HarnessError
from labkit.grade import program_of, sources_in
from labkit.graded import build_graded
from labkit.picture import FOLDER, Picture, picture_of
from labkit.program import Program, run
from labkit.stages import STAGES, Stage, stage_named
from labkit.subject import Subject, under_test
from labkit.trace import read_trace


def trace_command(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="lab trace", description="Runs once and draws who owned what, when.")
    parser.add_argument("what", nargs="+", metavar="STAGE|DIR", help="a stage, or with --stage a folder of programs")
    parser.add_argument("--stage", help="the stage that the programs in DIR are for")
    parser.add_argument("--svg-for-readmes", action="store_true", help="writes each stage's ownership.svg as well")
    options = parser.parse_args(arguments)
    wanted = [pair for what in options.what for pair in _sources(what, options.stage)]
    builder.build("probe")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with runtime.session():
        for source, program, name in wanted:
            picture = _run_and_draw(source, program, name)
            _write(picture, name)
            if options.svg_for_readmes and options.stage is None and program != "four_reads":
                print(_written(source.parent / "ownership.svg", picture.svg()))
    return 0


def _sources(what: str, stage_name: str | None) -> list[tuple[Path, str, str]]:
    """Source, program of the contract, and the picture's name."""
    if stage_name is None:
        stage = _stage(what)
        return [(paths.ROOT / stage.folder / main_file(program), program, program) for program in stage.programs]
    stage, folder = _stage(stage_name), Path(what)
    found = sources_in(folder)
    if not found:
        raise HarnessError(f"there is no .cpp in {folder}")
    return [(file, program_of(stage, file), f"{folder.resolve().name}-{file.stem}") for file in found]


def _stage(name: str) -> Stage:
    try:
        return stage_named(name)
    except KeyError as error:
        raise HarnessError(f"there is no stage {error}; there are {', '.join(s.folder for s in STAGES)}") from error


def main_file(program: str) -> str:
    return "four_reads.cpp" if program == "four_reads" else "main.cpp"


def _run_and_draw(source: Path, program: str, name: str) -> Picture:
    built = build_graded(source, program, FOLDER / "bin" / name)
    if built.executable is None:
        raise BuildFailed(built.said)
    with under_test(Subject(name, program, built.executable)) as recording:
        _run(program, built.executable)
        trace = next((read_trace(run.trace) for run in recording.runs if run.trace.exists()), None)
    if trace is None or not trace.calls:
        raise HarnessError(f"{name} left no trace")
    return picture_of(built.executable, trace, name)


def _run(program: str, executable: Path) -> None:
    if program != "iocp_network":
        run(executable)
        return
    # One client, then a Ctrl-C: what two would show twice is hard to read once.
    with Program(executable, "--port", "0", "--threads", "2") as server:
        first = server.wait_for_line("listening : ")
        if first is not None:
            _talk(int(first.rpartition(":")[2]), "hello")
            server.wait_for_line("closed : ")
            server.interrupt()
        server.wait()


def _talk(port: int, text: str) -> None:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=patience.seconds()) as client:
            client.sendall(text.encode())
            client.shutdown(socket.SHUT_WR)
            while client.recv(4096):
                pass
    except OSError as error:
        raise HarnessError(f"no talk with the server: {error}") from error


def _write(picture: Picture, name: str) -> None:
    for suffix, text in (("html", picture.html()), ("svg", picture.svg()), ("json", picture.chrome_json())):
        print(_written(FOLDER / f"{name}.{suffix}", text))


def _written(file: Path, text: str) -> str:
    file.write_text(text, encoding="utf-8", newline="\n")
    return str(file.relative_to(paths.ROOT) if file.is_relative_to(paths.ROOT) else file)
