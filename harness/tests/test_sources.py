"""What the sources promise: every erratum annotated where it belongs, sizes, and a clean compilation."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from labkit import builder, paths
from labkit.errata import catalogue
from labkit.prove import edited_copy
from labkit.rules import ERRATA, RULES
from labkit.stages import STAGES, Stage

WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]
ID = re.compile(r"\b([ETPFN]\d{1,2})\b")

# One main file for each program, and what it is linked with.
MAINS = [
    paths.ROOT / stage.folder / ("four_reads.cpp" if program == "four_reads" else "main.cpp")
    for stage in STAGES
    for program in stage.programs
]

by_stage = pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.folder)
by_main = pytest.mark.parametrize("main", MAINS, ids=lambda main: f"{main.parent.name}/{main.name}")
with_mingw = pytest.mark.skipif(builder.PRESET != "mingw", reason="compiles with mingw-w64's headers")


def sources_of(stage: Stage) -> list[Path]:
    """What a student reads of a stage; its tests are not part of that."""
    folder = paths.ROOT / stage.folder
    return [file for file in sorted(folder.glob("*.[ch]pp")) if not file.stem.endswith("_test")]


def ids_of(stage: Stage) -> set[str]:
    return {entry.id for entry in catalogue().values() if entry.stage == stage.folder}


def test_the_catalogue_is_whole() -> None:
    """The catalogue has its 102 entries, each with every field told."""
    assert len(catalogue()) == 102
    for entry in catalogue().values():
        assert entry.defect and entry.right and entry.why and entry.shown, entry.id


def test_every_erratum_has_a_wrong_program() -> None:
    """Each erratum is brought back by a wrong program, or says why it cannot be shown here; few may say so."""
    without = [entry.id for entry in catalogue().values() if not entry.wrong]
    assert len(without) <= 7
    assert [name for name in without if not catalogue()[name].not_run] == []


def test_the_wrong_programs_find_their_places(tmp_path: Path) -> None:
    """Each edit of the errata data finds the text that it replaces, once, in the corrected source."""
    for entry in catalogue().values():
        for wrong in entry.wrong:
            assert edited_copy(entry, wrong, tmp_path / f"{entry.id}.{wrong.number}").exists()


def test_every_rule_has_errata() -> None:
    """Each rule that looks at traces belongs to errata of the catalogue, and the table names no other rule."""
    assert set(ERRATA) == set(RULES)
    named = {name for programs in ERRATA.values() for names in programs.values() for name in names}
    assert named - catalogue().keys() == set()


@by_stage
def test_every_erratum_is_annotated(stage: Stage) -> None:
    """Every erratum of a stage stands, by its id, in a comment of the stage's source, and no id is unknown."""
    comments = [
        comment for file in sources_of(stage) for comment in re.findall(r"//.*", file.read_text(encoding="utf-8"))
    ]
    annotated = set(ID.findall("\n".join(comments)))
    assert ids_of(stage) - annotated == set()
    assert annotated - catalogue().keys() == set()


@by_stage
def test_the_readme_lists_the_errata(stage: Stage) -> None:
    """The stage's README has one row for every erratum of the stage, and no other."""
    text = (paths.ROOT / stage.folder / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| *`?([ETPFN]\d+)`? *\|", text, re.MULTILINE)
    assert sorted(rows) == sorted(ids_of(stage))


def test_the_mechanisms_stay_small() -> None:
    """Stages 1 to 3 fit two screens a file, stage 4's mechanism under 200 lines, the server under 300."""
    limits = {"01": 120, "02": 120, "03": 120, "04": 199, "05": 299}
    lengths = {
        file: len(file.read_text(encoding="utf-8").splitlines()) for stage in STAGES for file in sources_of(stage)
    }
    too_long = {str(file): length for file, length in lengths.items() if length > limits[file.parent.name[:2]]}
    assert too_long == {}


@with_mingw
@by_main
def test_one_compiler_command_builds_it(main: Path, tmp_path: Path) -> None:
    """Each program compiles with one command of g++, without a warning."""
    compiler = shutil.which("x86_64-w64-mingw32-g++-posix") or "x86_64-w64-mingw32-g++"
    command = [
        compiler,
        "-std=c++20",
        "-municode",
        "-static",
        *WARNINGS,
        "-I",
        "harness/include",
        str(main.relative_to(paths.ROOT)),
        "-o",
        str(tmp_path / "program.exe"),
        "-lws2_32",
    ]
    result = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""


@with_mingw
@pytest.mark.skipif(shutil.which("clang++") is None, reason="clang++ is not installed; the lab does not need it")
@by_main
def test_clang_takes_it_too(main: Path) -> None:
    """Each program compiles with clang and the same warnings, without one."""
    library = (
        Path(
            subprocess.run(
                [shutil.which("x86_64-w64-mingw32-g++-posix") or "x86_64-w64-mingw32-g++", "-print-file-name=include"],
                capture_output=True,
                text=True,
                check=True,
            ).stdout.strip()
        ).parent
        / "include"
        / "c++"
    )
    command = [
        "clang++",
        "--target=x86_64-w64-mingw32",
        "-std=c++20",
        "-municode",
        *WARNINGS,
        "-I",
        "harness/include",
        "-stdlib++-isystem",
        str(library),
        "-stdlib++-isystem",
        str(library / "x86_64-w64-mingw32"),
        "-fsyntax-only",
        str(main.relative_to(paths.ROOT)),
    ]
    result = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""


@pytest.mark.skipif(
    shutil.which("clang-format") is None, reason="clang-format is not installed; the lab does not need it"
)
def test_the_sources_are_formatted() -> None:
    """clang-format has nothing to change."""
    files = [str(f) for pattern in ("0*/*.[ch]pp", "harness/*/*.[ch]pp") for f in sorted(paths.ROOT.glob(pattern))]
    result = subprocess.run(
        ["clang-format", "--dry-run", "--Werror", *files], cwd=paths.ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_no_stage_knows_of_the_grader() -> None:
    """The stages carry no test code: no ifdef, no probe, no word of a grader."""
    for stage in STAGES:
        for file in sources_of(stage):
            text = file.read_text(encoding="utf-8")
            assert not re.search(r"^\s*#\s*if", text, re.MULTILINE), file
            assert not re.search(r"probe|grader|gtest", text, re.IGNORECASE), file


def test_errata_files_say_what_they_are() -> None:
    """Each stage has its errata file, and each file is TOML."""
    files = sorted((paths.HARNESS / "errata").glob("*.toml"))
    assert [file.stem for file in files] == [stage.folder for stage in STAGES]
    for file in files:
        tomllib.loads(file.read_text(encoding="utf-8"))
