"""Where things stand. Everything the lab writes is under BUILD."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HARNESS = ROOT / "harness"
BUILD = ROOT / "build"
PROGRAMS = BUILD / "bin"
PIPE_FEEDER = BUILD / "harness" / "pipe_feeder.exe"
