"""The catalogue of the notes' defects: harness/errata/*.toml, one table for each id."""

import functools
import tomllib
from dataclasses import dataclass

from labkit import paths


@dataclass(frozen=True)
class Erratum:
    id: str
    defect: str  # what the notes do
    right: str  # the right form
    why: str  # what goes wrong otherwise, and the rule behind it
    source: str  # the documentation page that states the rule; may be empty
    shown: tuple[str, ...]  # how it can be shown: C compile, R run, P pipe, L ledger, I injection, T trace; or "read"
    stage: str  # the folder it belongs to


@functools.cache
def catalogue() -> dict[str, Erratum]:
    """Every erratum by id, in the catalogue's order."""
    entries = {}
    for file in sorted((paths.HARNESS / "errata").glob("*.toml")):
        for name, table in tomllib.loads(file.read_text(encoding="utf-8")).items():
            entries[name] = Erratum(
                name, table["defect"], table["right"], table["why"], table["source"], tuple(table["shown"]), file.stem
            )
    return entries
