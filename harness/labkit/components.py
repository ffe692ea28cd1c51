"""What the lab needs, what of it is missing, and the one command that mends it."""

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from labkit import paths


@dataclass(frozen=True)
class Component:
    name: str
    kind: str  # command, file or module
    what: str
    package: str
    purpose: str


def read_components(file: Path) -> list[Component]:
    """The lines of components.txt; its head says what they mean."""
    components = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            name, how, package, purpose = (field.strip() for field in line.split("|"))
            kind, what = how.split()
            components.append(Component(name, kind, what, package, purpose))
    return components


def is_found(component: Component) -> bool:
    if component.kind == "command":
        return shutil.which(component.what) is not None
    if component.kind == "module":
        return importlib.util.find_spec(component.what) is not None
    return Path(component.what).exists()


WINDOWS_COMPONENTS = [
    Component("cmake", "command", "cmake", "Kitware.CMake", "the build"),
    Component(
        "msvc",
        "file",
        r"C:\Program Files (x86)\Microsoft Visual Studio\Installer\vswhere.exe",
        "Microsoft.VisualStudio.2022.Community",
        "the compiler",
    ),
    *(Component(name, "module", name, name, "the harness") for name in ("pytest", "xdist", "rich", "psutil", "jinja2")),
]


def mending_command(missing: list[Component]) -> str:
    if sys.platform == "win32":
        packages = [c for c in missing if c.kind != "module"]
        if packages:
            return " && ".join(f"winget install {c.package}" for c in packages)
        return r"rmdir /s /q build\venv && harness\lab run"
    packages_text = " ".join(dict.fromkeys(c.package for c in missing))
    if shutil.which("apt-get") is None:
        return f"install, with this system's package manager, what Debian calls: {packages_text}"
    as_root = "" if os.geteuid() == 0 else "sudo "
    return f"{as_root}apt-get update && {as_root}apt-get install --yes --no-install-recommends {packages_text}"


def doctor(found: Callable[[Component], bool] = is_found) -> int:
    """Prints what is there and what is missing. 0: all there; 2: something is missing.

    Uses nothing outside Python's own library: rich may be what is missing.
    """
    windows = sys.platform == "win32"
    components = WINDOWS_COMPONENTS if windows else read_components(paths.HARNESS / "components.txt")
    missing = []
    for component in components:
        there = found(component)
        print(f"{'found  ' if there else 'MISSING'}  {component.name:<11} {component.purpose} ({component.what})")
        if not there:
            missing.append(component)
    if not missing:
        print("nothing is missing")
        return 0
    print(f"\nto mend it:\n  {mending_command(missing)}")
    return 2
