"""`lab grade` as its user sees it: exit code, terminal, files."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from labkit import builder, paths
from labkit.grade import Submission, subjects_of
from labkit.graded import Built
from labkit.source_lines import SourceLines, place_of

pytestmark = pytest.mark.skipif(builder.PRESET != "mingw", reason="grading needs mingw-w64 and Wine so far")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Our own stage 1 as somebody's submission, under the names that browsers and students give."""
    folder = tmp_path / "과제 (copy)"
    folder.mkdir()
    shutil.copy(paths.ROOT / "01_event_wait" / "main.cpp", folder / "main (1).cpp")
    shutil.copy(paths.ROOT / "01_event_wait" / "event_wait.hpp", folder)
    return folder


def grade(folder: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [paths.HARNESS / "lab", "grade", folder, "--stage", "1", *words]
    return subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True, check=False, timeout=300)


def read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def test_a_right_program_is_accepted(folder: Path, tmp_path: Path) -> None:
    """Exit code 0, whatever the file is called; the JSON says so of each check."""
    done = grade(folder, "-k", "test_every_call_may_fail", "--json", tmp_path / "verdicts.json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "main (1).cpp (event_wait): accepted, 1 checks" in done.stdout + done.stderr
    written = read(tmp_path / "verdicts.json")
    assert (written["exit_code"], written["programs"][0]["checks"][0]["outcome"]) == (0, "passed")


def test_a_verdict_shows_one_run(folder: Path, tmp_path: Path) -> None:
    """A leak is told once, with its line, the picture of the very run, and the command for just this check and case."""
    main = folder / "main (1).cpp"
    text = main.read_text(encoding="utf-8")
    main.write_text(text.replace("const lab::Event done{", "const HANDLE done{").replace("done.get()", "done"))
    done = grade(folder, "-k", "test_the_bytes_come_from_the_offset", "--json", tmp_path / "verdicts.json")
    assert done.returncode == 1, done.stdout + done.stderr
    for check in read(tmp_path / "verdicts.json")["programs"][0]["checks"]:
        rows = [(row["heading"], row["text"]) for row in check["verdict"]]
        told = dict(rows)
        case = check["check"].partition("[")[2].split("-")[-1].rstrip("]")
        assert check["errata"] == ["E10"]
        assert [heading for heading, _ in rows].count("found") == 1
        assert re.fullmatch(r"main \(1\)\.cpp:\d+", told["where"])
        assert told["again"].endswith(f"--only 'test_the_bytes_come_from_the_offset[{case}]'")
        picture = paths.ROOT / told["picture"].partition("#")[0]
        assert f"patterned.bin {case}" in picture.read_text(encoding="utf-8").replace("\\\\", "\\")


def test_a_single_case_is_asked_again(folder: Path, tmp_path: Path) -> None:
    """--only asks for that case and no other whose name has it in it, of the one program that is named."""
    (folder / "other.cpp").write_text("not a program\n")
    only = ["--only", "test_the_bytes_come_from_the_offset[8]", "--json", tmp_path / "verdicts.json"]
    done = grade(folder / "main (1).cpp", *only)
    assert done.returncode == 0, done.stdout + done.stderr
    (program,) = read(tmp_path / "verdicts.json")["programs"]
    (check,) = program["checks"]
    assert check["check"].endswith("::test_the_bytes_come_from_the_offset[main (1)-8]")


def test_the_program_that_is_asked_again_is_named(folder: Path) -> None:
    """In a folder with several programs the command names the file, also if it alone was graded."""
    submission = Submission(folder / "main (1).cpp", "event_wait", Built(folder / "event_wait.exe", ""))
    (alone,) = subjects_of([submission], lambda _: "key")
    (folder / "other.cpp").touch()
    (one_of_two,) = subjects_of([submission], lambda _: "key")
    assert shlex.split(alone.again)[2:] == [paths.shown(folder), "--stage", "1"]
    assert shlex.split(one_of_two.again)[2:] == [paths.shown(folder / "main (1).cpp"), "--stage", "1"]


def test_a_crash_is_told_with_its_line(folder: Path, tmp_path: Path) -> None:
    """A program that crashes is told where."""
    main = folder / "main (1).cpp"
    text = main.read_text(encoding="utf-8")
    place = '    lab::print_line("bytes : "'
    line = text[: text.index(place)].count("\n") + 1
    main.write_text(text.replace(place, "    *static_cast<volatile int*>(nullptr) = 1;\n" + place), encoding="utf-8")
    done = grade(folder, "-k", "test_without_arguments", "--json", tmp_path / "verdicts.json")
    assert done.returncode == 1, done.stdout + done.stderr
    rows = read(tmp_path / "verdicts.json")["programs"][0]["checks"][0]["verdict"]
    assert {"heading": "crashed", "text": f"at main (1).cpp:{line}"} in rows


def test_nothing_asked_is_no_acceptance(folder: Path, tmp_path: Path) -> None:
    """If no check has that name, the exit code is 2, and the JSON of an earlier run does not stay."""
    (tmp_path / "verdicts.json").write_text('{"exit_code": 0}')
    done = grade(folder, "-k", "nothing_of_that_name", "--json", tmp_path / "verdicts.json")
    assert done.returncode == 2
    written = read(tmp_path / "verdicts.json")
    assert (written["exit_code"], written["error"]) == (2, "no check was made: none has that name")


def test_a_file_that_cannot_be_written_is_told_first(folder: Path, tmp_path: Path) -> None:
    """Nothing is graded whose verdicts would be lost."""
    done = grade(folder, "--json", tmp_path / "no such folder" / "verdicts.json")
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
    assert "compiling" not in done.stdout + done.stderr


def test_what_does_not_compile_is_rejected(folder: Path) -> None:
    """The compiler's words, exit code 1, and a hint where a program has no main."""
    (folder / "main (1).cpp").unlink()
    (folder / "a folder.cpp").mkdir()
    (folder / "helper.cpp").write_text("int helper() { return 1; }\n")
    done = grade(folder)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "needs a main of its own" in done.stdout + done.stderr


def test_a_place_is_in_the_students_own_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a delete in a header of the C++ library the line is told that led to it."""
    says = {
        0x10F: "/usr/lib/gcc/x86_64-w64-mingw32/12-posix/include/c++/bits/unique_ptr.h:95",
        0x11F: "/usr/lib/gcc/x86_64-w64-mingw32/12-posix/include/c++/vector:680 (discriminator 2)",
        0x12F: "Z:/home/c++/main.cpp:17",
        0x13F: "??:0",
    }
    monkeypatch.setattr(SourceLines, "_ask", lambda _, addresses, *how: [says[address] for address in addresses])
    lines = SourceLines(Path("program.exe"), 0)
    assert lines.line(0x110, 0x120, 0x130, 0x140) == "main.cpp:17"
    assert lines.line(0x110, 0x120) == "unique_ptr.h:95"
    assert lines.line(0x140, 0x130) == "main.cpp:17"
    assert lines.line(0x140) == ""


def test_a_place_may_have_any_name() -> None:
    """The line of a source is found whatever its folder and file are called."""
    assert place_of("Z:/home/hw (copy)/main (1).cpp:12 (discriminator 3)\n") == "main (1).cpp:12"
    assert place_of("/home/a b/main.cpp:7") == "main.cpp:7"
    assert place_of("??:0") == place_of("/home/main.cpp:?") == ""
