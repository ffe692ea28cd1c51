"""The door harness/lab: what it does on a machine that lacks something."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from labkit import paths

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="harness/lab is the door for Linux")


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A copy of the lab without a build, in a path with spaces, and a folder for commands that note their call."""
    lab = tmp_path / "a lab"
    shutil.copytree(paths.HARNESS, lab / "harness", ignore=shutil.ignore_patterns("__pycache__"))
    (lab / "bin").mkdir()
    return lab


def pretend(lab: Path, command: str, script: str) -> None:
    """Puts a command of that name before the real one; it notes its call in `bin/calls`."""
    file = lab / "bin" / command
    file.write_text(f'#!/bin/sh\necho {command} "$@" >>"{lab}/bin/calls"\n{script}\n')
    file.chmod(0o755)


def calls(lab: Path) -> list[str]:
    record = lab / "bin" / "calls"
    return record.read_text().splitlines() if record.exists() else []


def need(lab: Path, *lines: str) -> None:
    (lab / "harness" / "components.txt").write_text("\n".join(lines) + "\n")


def knock(lab: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PATH": f"{lab}/bin:{os.environ['PATH']}"}
    return subprocess.run(
        [lab / "harness" / "lab", *words],
        env=environment,
        stdin=subprocess.DEVNULL,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_is_missing_is_installed_once(lab: Path) -> None:
    """A missing package is installed with apt at the first start; a second start does not touch apt."""
    need(lab, "thing | command made-by-apt | the-thing | being there")
    pretend(lab, "sudo", '"$@"')
    pretend(lab, "apt-get", f'case "$*" in *install*) ln -sf /bin/true "{lab}/bin/made-by-apt" ;; esac')
    first = knock(lab, "--help")
    assert first.returncode == 0, first.stderr
    assert "the-thing" in first.stderr
    asked = [call for call in calls(lab) if call.startswith("apt-get")]
    assert ["update" in asked[0], "install" in asked[1] and asked[1].endswith(" the-thing")] == [True, True]
    assert knock(lab, "--help").returncode == 0
    assert [call for call in calls(lab) if call.startswith("apt-get")] == asked


def test_nothing_missing_nothing_installed(lab: Path) -> None:
    """Where everything is there apt is not asked for anything."""
    need(lab, "shell | command sh | dash | being there", "os | module os | python3 | being there")
    pretend(lab, "apt-get", "exit 1")
    assert knock(lab, "--help").returncode == 0
    assert calls(lab) == []


def test_only_bench_installs_what_only_bench_needs(lab: Path) -> None:
    """What bench alone needs is not asked for by another command, and is by bench."""
    need(lab, "shell | command sh | dash | being there")
    (lab / "harness" / "bench" / "components.txt").write_text("thing | command not-there | the-thing | measuring\n")
    pretend(lab, "sudo", '"$@"')
    pretend(lab, "apt-get", f'case "$*" in *install*) ln -sf /bin/true "{lab}/bin/not-there" ;; esac')
    assert knock(lab, "--help").returncode == 0
    assert calls(lab) == []
    knock(lab, "bench", "--help")
    assert [call for call in calls(lab) if call.endswith(" the-thing")] != []


def test_apt_that_fails_is_not_a_verdict(lab: Path) -> None:
    """When apt fails the door says so, names the command, and ends with 2."""
    need(lab, "thing | command not-there-at-all | the-thing | being there")
    pretend(lab, "sudo", '"$@"')
    pretend(lab, "apt-get", "echo no network >&2; exit 100")
    result = knock(lab, "run")
    assert result.returncode == 2
    assert "no network" in result.stderr
    assert "apt-get install --yes --no-install-recommends the-thing" in result.stderr


def test_apt_that_does_not_bring_it(lab: Path) -> None:
    """When apt ends well and the thing is still not there, the door does not go on."""
    need(lab, "thing | file /not/there/at/all | the-thing | being there")
    pretend(lab, "sudo", '"$@"')
    pretend(lab, "apt-get", "exit 0")
    result = knock(lab, "run")
    assert result.returncode == 2
    assert "still missing: the-thing" in result.stderr


def test_doctor_installs_nothing(lab: Path) -> None:
    """doctor only looks: it names what is missing, and apt is not asked."""
    need(lab, "thing | command not-there-at-all | the-thing | being there")
    pretend(lab, "apt-get", "exit 1")
    result = knock(lab, "doctor")
    assert result.returncode == 2
    assert "MISSING  thing" in result.stdout
    assert calls(lab) == []


def test_an_unknown_command_is_not_a_verdict(lab: Path) -> None:
    """A command the lab does not have ends with 2 and names those it has."""
    need(lab, "shell | command sh | dash | being there")
    result = knock(lab, "fly")
    assert result.returncode == 2
    assert "fly" in result.stderr
