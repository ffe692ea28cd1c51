"""What doctor finds, for each thing that may be missing."""

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

from labkit import components, paths

linux_only = pytest.mark.skipif(sys.platform == "win32", reason="components.txt lists Debian's packages")
NEEDED = components.read_components(paths.HARNESS / "components.txt")


@linux_only
@pytest.mark.parametrize("missing", NEEDED, ids=lambda component: component.name)
def test_doctor_names_what_is_missing_and_what_mends_it(
    missing: components.Component, capsys: pytest.CaptureFixture[str]
) -> None:
    """For each missing component, doctor names it and its package in one command, and ends with 2."""
    assert components.doctor(found=lambda component: component != missing) == 2
    said = capsys.readouterr().out
    assert [line.split()[1] for line in said.splitlines() if line.startswith("MISSING")] == [missing.name]
    commands = [line for line in said.splitlines() if "apt-get install" in line]
    assert len(commands) == 1
    assert commands[0].endswith(f" {missing.package}")


@linux_only
def test_doctor_is_content_with_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    """Where these tests run nothing is missing, and doctor ends with 0."""
    assert components.doctor() == 0
    assert "MISSING" not in capsys.readouterr().out


@linux_only
@pytest.mark.parametrize("component", NEEDED, ids=lambda component: component.name)
def test_a_component_that_is_not_there_is_not_found(
    component: components.Component, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each way of finding a component sees when it is not there."""
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(Path, "exists", lambda path: False)
    assert not components.is_found(component)


@linux_only
def test_without_apt_the_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no apt, doctor says what to install by other means."""
    monkeypatch.setattr(shutil, "which", lambda name: None)
    command = components.mending_command(NEEDED[:2])
    assert "package manager" in command
    assert command.endswith("python3 python3-pytest")
