"""Where things stand. Everything the lab writes is under BUILD."""

import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HARNESS = ROOT / "harness"
BUILD = ROOT / "build"
PROGRAMS = BUILD / "bin"
PIPE_FEEDER = BUILD / "harness" / "pipe_feeder.exe"


def shown(path: Path) -> str:
    """As it can be typed where the lab was started: short in the root of the repository, whole elsewhere."""
    return str(path.relative_to(ROOT) if Path.cwd() == ROOT and path.is_relative_to(ROOT) else path)


def door() -> str:
    """How the lab is started from there."""
    return "./harness/lab" if Path.cwd() == ROOT else shlex.quote(str(HARNESS / "lab"))
