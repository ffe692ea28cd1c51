"""Running programs that misbehave: each is ended, and the verdict says why."""

import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from labkit import builder, runtime
from labkit.errors import HarnessError, Rejected
from labkit.feeder import CannotFeed, Feeder
from labkit.program import MOST_OUTPUT, Program, falls, run
from labkit.subject import Subject, under_test

pytestmark = pytest.mark.skipif(builder.PRESET != "mingw", reason="the small programs here are built with mingw-w64")

SOURCE = r"""
#include <windows.h>
#include <cstdio>
#include <cstdlib>
#include <cstring>
int main(int argc, char** argv)
{
    const char* what = argc > 1 ? argv[1] : "";
    if (std::strcmp(what, "hang") == 0) { std::puts("hanging"); std::fflush(stdout); Sleep(INFINITE); }
    if (std::strcmp(what, "flood") == 0) for (;;) std::puts("a line, and another, and another, and another");
    if (std::strcmp(what, "crash") == 0) { *(volatile int*)8 = 1; }
    if (std::strcmp(what, "code") == 0) return 7;
    if (std::strcmp(what, "silent") == 0) return 1;
    if (std::strcmp(what, "second") == 0) {
        const HANDLE note = CreateFileA(argv[2], GENERIC_WRITE, 0, nullptr, CREATE_NEW, 0, nullptr);
        if (note != INVALID_HANDLE_VALUE) return 1;
        std::puts("begun"); std::fflush(stdout);
    }
    if (std::strcmp(what, "hoard") == 0) {
        int gotten = 0;
        for (; gotten < 3072; ++gotten)
            if (void* const more = std::malloc(1 << 20)) std::memset(more, 1, 1 << 20);
            else break;
        std::printf("%d\n", gotten);
    }
    if (std::strcmp(what, "bytes") == 0) std::fwrite("\xff\xfe\n", 1, 3, stdout);
    if (std::strcmp(what, "child") == 0 || std::strcmp(what, "leave") == 0) {
        const bool leaves = std::strcmp(what, "leave") == 0;
        char command[MAX_PATH + 8];
        GetModuleFileNameA(nullptr, command, MAX_PATH);
        std::strcat(command, " hang");
        STARTUPINFOA start{}; start.cb = sizeof start; PROCESS_INFORMATION made{};
        const DWORD how = leaves ? DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP : 0;
        CreateProcessA(nullptr, command, nullptr, nullptr, TRUE, how,
                       nullptr, nullptr, &start, &made);
        std::puts("started"); std::fflush(stdout);
        if (!leaves) Sleep(INFINITE);
    }
    if (std::strcmp(what, "rename") == 0) {
        char name[MAX_PATH];
        GetModuleFileNameA(nullptr, name, MAX_PATH);
        char other[MAX_PATH + 8];
        std::strcat(std::strcpy(other, name), ".gone");
        MoveFileA(name, other);
    }
    return 0;
}
"""


@pytest.fixture(scope="module")
def misbehaving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("misbehaving")
    (folder / "program.cpp").write_text(SOURCE)
    compiler = shutil.which("x86_64-w64-mingw32-g++-posix") or "x86_64-w64-mingw32-g++"
    subprocess.run([compiler, "-static", folder / "program.cpp", "-o", folder / "program.exe"], check=True)
    return folder / "program.exe"


def running(program: Path) -> list[psutil.Process]:
    return [p for p in psutil.process_iter(["cmdline"]) if str(program) in " ".join(p.info["cmdline"] or [])]


def test_a_hang_is_ended(misbehaving: Path) -> None:
    """A program that never ends is ended, keeps what it said, and has no exit code."""
    result = run(misbehaving, "hang", patience_s=1)
    assert result.exit_code is None
    assert "had not ended" in result.ended_because
    assert result.lines == ["hanging"]


def test_a_flood_is_ended(misbehaving: Path) -> None:
    """A program that prints without end is ended, and no more than a bound is kept."""
    result = run(misbehaving, "flood")
    assert result.exit_code is None
    assert "printed more than" in result.ended_because
    assert len(result.stdout) <= MOST_OUTPUT


def test_a_crash_is_no_success(misbehaving: Path) -> None:
    """A program that crashes has an exit code that is not 0."""
    assert run(misbehaving, "crash").exit_code not in (0, None)


def test_an_exit_code_comes_through(misbehaving: Path) -> None:
    """The exit code is the program's own."""
    assert run(misbehaving, "code").exit_code == 7


def test_a_silent_failure_is_the_program_s_own(misbehaving: Path) -> None:
    """A program that ends with 1 and says nothing is asked twice, and its exit code stays what it is."""
    assert run(misbehaving, "silent").exit_code == 1


def test_a_start_that_failed_silently_is_made_again(misbehaving: Path, tmp_path: Path) -> None:
    """A program that ended with 1 and said nothing, and would not do so again, had not begun: that is Wine's doing."""
    with under_test(Subject("a", "event_wait", misbehaving)) as recording:
        assert run(misbehaving, "second", runtime.path_for_program(tmp_path / "run")).exit_code == 0
        with Program(misbehaving, "second", runtime.path_for_program(tmp_path / "line")) as program:
            assert program.wait_for_line("begun") == "begun"
        with Program(misbehaving, "second", runtime.path_for_program(tmp_path / "end")) as program:
            program.process.wait(10)
            program.wait_for(lambda _: False, 0)  # its streams are read to their ends
            assert program.wait().lines == ["begun"]
        assert len(recording.runs) == 3  # what did not begin is not judged


@pytest.mark.skipif(sys.platform == "win32", reason="it is Wine that falls over")
def test_wine_that_falls_over_is_told_from_a_crash(misbehaving: Path) -> None:
    """A signal of Linux, and what Wine and the loader say then, are not the program's; a crash and its words are."""
    crash = run(misbehaving, "crash")
    assert crash.exit_code is not None
    assert not runtime.has_fallen_over(crash.exit_code, crash.stderr)
    assert runtime.has_fallen_over(-11, "")
    assert runtime.has_fallen_over(127, "usage : a\nInconsistency detected by ld.so: dl-fini.c: 87: _dl_fini: ...\n")
    assert runtime.has_fallen_over(1, "wine client error:17c: write: Bad file descriptor\n")


@pytest.mark.skipif(sys.platform == "win32", reason="it is Wine that falls over")
def test_what_the_probe_has_noted_outlives_a_fall(misbehaving: Path) -> None:
    """A program that Wine has brought down at its very end has the exit code that the probe took down, and no fall
    counts; one that was brought down before has none of its own."""
    with under_test(Subject("a", "event_wait", misbehaving)) as recording:
        for line, code in (("note\t1\t50\t0\texit\tcode=2a\n", 42), ("note\t1\t50\t0\tbegin\n", -9)):
            before = falls()
            with Program(misbehaving, "hang") as program:
                recording.runs[-1].trace.write_bytes(len(line).to_bytes(8, "little") + line.encode())
                program.process.kill()
                assert program.wait().exit_code == code
            assert falls() - before == (code < 0)
    said = "error : a\nwine client error:17c: write: Bad file descriptor\nwine client error:17c: write: Bad\n"
    assert runtime.without_words_of_a_fall(said) == "error : a\n"


@pytest.mark.filterwarnings("ignore:Wine has fallen over")
@pytest.mark.skipif(sys.platform == "win32", reason="it is Wine that falls over")
def test_a_check_is_made_again_when_wine_has_fallen_over(misbehaving: Path, tmp_path: Path) -> None:
    """A verdict that came with a process ended by a signal of Linux counts only if it comes a second time."""
    made = tmp_path / "made"
    if not made.exists():
        made.touch()
        with Program(misbehaving, "hang") as program:
            program.process.kill()
            program.wait()
        raise Rejected([("came", "what a run has left that fell over")], ())


@pytest.mark.xfail(raises=Rejected, reason="the verdict is what is wanted; strict: a second time would pass")
def test_a_verdict_without_that_stands(tmp_path: Path) -> None:
    """No check is made again because it has rejected something."""
    made = tmp_path / "made"
    if not made.exists():
        made.touch()
        raise Rejected([("came", "something else")], ())


def test_memory_is_limited(misbehaving: Path) -> None:
    """A program that takes memory without end is refused more at the limit, and can say so itself."""
    result = run(misbehaving, "hoard")
    assert 512 < int(result.lines[0]) <= runtime.MOST_MEMORY >> 20


def test_what_is_not_utf_8_is_shown(misbehaving: Path) -> None:
    """Bytes that are no UTF-8 are shown as what they are."""
    assert run(misbehaving, "bytes").lines == [r"\xff\xfe"]


def test_children_go_with_their_parent(misbehaving: Path) -> None:
    """What a program has started is ended with it."""
    with Program(misbehaving, "child") as program:
        assert program.wait_for_line("started") is not None
        assert program.wait_for_line("hanging") is not None  # the child has our pipe: it runs
    assert running(misbehaving) == []


def test_what_a_program_leaves_behind_ends_with_its_check(misbehaving: Path) -> None:
    """A program that starts another, detached, and ends itself: the other one is gone when the check is."""
    with under_test(Subject("a", "event_wait", misbehaving)):
        result = run(misbehaving, "leave")
        assert (result.exit_code, result.lines[0]) == (0, "started")
    assert running(misbehaving) == []


def test_a_program_that_renames_itself_is_told_so(misbehaving: Path, tmp_path: Path) -> None:
    """A program under test whose file is gone was not forgotten by the harness: that is a verdict."""
    program = shutil.copy(misbehaving, tmp_path / "program.exe")
    with under_test(Subject("a", "event_wait", program)):
        run(program, "rename")
        with pytest.raises(Rejected, match="renamed itself"):
            run(program)


def test_a_pipe_that_nobody_opens_is_no_failure_of_the_harness(feeder: Feeder) -> None:
    """What is written to a pipe that no program has opened is lost; that is the program's matter."""
    feeder.pipe().write(b"nobody")


def test_a_program_that_is_not_there_is_the_harness_s_failure(tmp_path: Path) -> None:
    """An executable that was not built is no verdict against anybody."""
    with pytest.raises(HarnessError, match="was not built"):
        run(tmp_path / "nothing.exe")


@pytest.mark.parametrize("line", ["connect nobody 0", "write nobody 00", "close nobody", "dance there", "create there"])
def test_a_feeder_that_cannot_says_so(feeder: Feeder, line: str) -> None:
    """What the pipe feeder cannot carry out is a failure of the harness, with the reason, and it goes on."""
    if line.endswith("there"):
        feeder.tell("create there")
    with pytest.raises(CannotFeed, match="error : "):
        feeder.tell(line)
    if line.endswith("there"):
        feeder.tell("close there")
