"""The catalogue of the notes' defects: harness/errata/*.toml, one table for each id."""

import functools
import tomllib
from dataclasses import dataclass
from typing import Any

from labkit import paths


@dataclass(frozen=True)
class Edit:
    file: str  # in the stage's folder
    find: str  # stands there exactly once
    replace: str


@dataclass(frozen=True)
class Wrong:
    """A wrong program: the corrected one with the defect brought back, and the check that must reject it."""

    number: int  # among the erratum's wrong programs, from 1
    program: str  # of the contract: whose sources are edited
    edits: tuple[Edit, ...]
    check: str  # the check's function, or "compile": the compiler itself
    case: str  # the id of the parametrized case; empty: any
    says: str  # a regular expression that the verdict must match


@dataclass(frozen=True)
class Erratum:
    id: str
    defect: str  # what the notes do
    right: str  # the right form
    why: str  # what goes wrong otherwise, and the rule behind it
    source: str  # the documentation page that states the rule; may be empty
    shown: tuple[str, ...]  # how it can be shown: C compile, R run, P pipe, L ledger, I injection, T trace; or "read"
    stage: str  # the folder it belongs to
    wrong: tuple[Wrong, ...]
    not_run: str  # why no wrong program can be rejected on this system; mostly empty


@functools.cache
def catalogue() -> dict[str, Erratum]:
    """Every erratum by id, in the catalogue's order."""
    entries = {}
    for file in sorted((paths.HARNESS / "errata").glob("*.toml")):
        for name, table in tomllib.loads(file.read_text(encoding="utf-8")).items():
            wrong = tuple(_wrong(number, row) for number, row in enumerate(table.get("wrong", ()), 1))
            entries[name] = Erratum(
                name,
                table["defect"],
                table["right"],
                table["why"],
                table["source"],
                tuple(table["shown"]),
                file.stem,
                wrong,
                table.get("not_run", {}).get("reason", ""),
            )
    return entries


def _wrong(number: int, row: dict[str, Any]) -> Wrong:
    edits = tuple(Edit(edit["file"], edit["find"], edit["replace"]) for edit in row["edits"])
    return Wrong(number, row["program"], edits, row["check"], row.get("case", ""), row["says"])
