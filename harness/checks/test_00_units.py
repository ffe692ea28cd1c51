"""The GoogleTest units beside the stages, by CTest."""

import re
import shutil
import subprocess

import pytest

from labkit import builder, paths
from labkit.errors import HarnessError

# The units as CMakeLists.txt names them. Read, not listed again: a new one is run without a word here.
UNITS = re.findall(r"^\s*lab_units\((\w+)", (paths.ROOT / "CMakeLists.txt").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("name", UNITS)
def test_units(name: str) -> None:
    """The units of the mechanism pass."""
    ctest = shutil.which("ctest")
    if ctest is None:
        raise HarnessError("ctest was not found; it comes with CMake")
    words = [ctest, "--preset", builder.PRESET, "--tests-regex", f"^{name}$", "--no-tests=error"]
    result = subprocess.run(
        words, cwd=paths.ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, f"\n{result.stdout}\n{result.stderr}"
