"""lab prove: brings every erratum back, and shows that the grader rejects it for that reason."""

import re
import shutil
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from labkit import builder, paths, ui
from labkit.errata import Edit, Erratum, Wrong, catalogue
from labkit.errors import HarnessError
from labkit.graded import FOLDER, Built, build_graded
from labkit.grading import CheckResult, check_files, run_checks
from labkit.stages import stage_named
from labkit.subject import Subject

BY_THE_COMPILER = "compile"


@dataclass
class Proof:
    """What became of one wrong program."""

    erratum: Erratum
    wrong: Wrong
    built: Built
    seconds: float
    rejected_by: str = ""  # empty: not rejected for this reason
    message: str = ""  # the part of the verdict that shows it, or what came instead

    @property
    def key(self) -> str:
        return f"{self.erratum.id}.{self.wrong.number}"


def prove_command(words: list[str]) -> int:
    words = [word.upper() for word in words]
    unknown = [word for word in words if word not in catalogue()]
    if unknown:
        raise HarnessError(f"there is no erratum {', '.join(unknown)}")
    entries = [catalogue()[word] for word in words] or list(catalogue().values())
    builder.build("probe", "pipe_feeder")
    proofs = build_wrong_programs([(entry, wrong) for entry in entries for wrong in entry.wrong])
    for proof in proofs:
        if proof.wrong.check == BY_THE_COMPILER:
            _judge_compiler(proof)
    ran = [proof for proof in proofs if proof.wrong.check != BY_THE_COMPILER]
    _judge_by_checks(ran)
    _show(entries, proofs)
    without = [entry.id for entry in entries if not entry.wrong and not entry.not_run]
    failed = [proof.key for proof in proofs if not proof.rejected_by] + without
    proven = {proof.erratum.id for proof in proofs if proof.rejected_by} - set(failed)
    listed = sum(bool(entry.not_run) for entry in entries)
    ui.say(f"{len(entries)} errata: {len(proven)} brought back and rejected, {listed} not to be shown here")
    if failed:
        ui.say(f"lab: not proven: {' '.join(failed)}")
        return 1
    return 0


def edited_copy(erratum: Erratum, wrong: Wrong, folder: Path) -> Path:
    """A copy of the stage's sources with the defect in it, in folder/source. Returns the program's own source file.

    Raises HarnessError if the source has moved on and an edit no longer finds its place.
    """
    told = f"{erratum.id}; mend harness/errata/{erratum.stage}.toml"
    return copy_with_edits(wrong.program, wrong.edits, folder, told)


def copy_with_edits(program: str, edits: Iterable[Edit], folder: Path, told: str) -> Path:
    """As edited_copy, for any edits; `told`: whose they are, if one does not find its place."""
    folder = folder / "source"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    stage = stage_named(program).folder
    for file in (paths.ROOT / stage).glob("*.[ch]pp"):
        if not file.stem.endswith("_test"):
            shutil.copy2(file, folder / file.name)
    for edit in edits:
        target = folder / edit.file
        text = target.read_text(encoding="utf-8") if target.exists() else ""
        if text.count(edit.find) != 1:
            raise HarnessError(
                f"this must stand once in {stage}/{edit.file}, and stands there {text.count(edit.find)} times "
                f"({told}):\n{edit.find}"
            )
        target.write_text(text.replace(edit.find, edit.replace), encoding="utf-8")
    return folder / ("four_reads.cpp" if program == "four_reads" else "main.cpp")


def build_wrong_programs(wanted: list[tuple[Erratum, Wrong]]) -> list[Proof]:
    # All of them before anything is compiled: an edit that no longer finds its place is told at once.
    sources = [edited_copy(entry, wrong, FOLDER / "wrong" / f"{entry.id}.{wrong.number}") for entry, wrong in wanted]

    def build(erratum: Erratum, wrong: Wrong, source: Path) -> Proof:
        started = time.monotonic()
        built = build_graded(source, wrong.program, source.parent.parent)
        return Proof(erratum, wrong, built, time.monotonic() - started)

    proofs = []
    with ThreadPoolExecutor(2) as pool, ui.progress("compiling wrong programs") as progress:
        for proof in pool.map(build, *zip(*wanted, strict=True), sources):
            proofs.append(proof)
            progress(len(proofs), len(wanted))
    return proofs


def _judge_compiler(proof: Proof) -> None:
    found = re.search(proof.wrong.says, proof.built.said)
    if proof.built.executable is None and found:
        proof.rejected_by, proof.message = "the compiler", _line_around(proof.built.said, found)
    else:
        proof.message = "it compiles" if proof.built.executable else proof.built.said.strip()


def _judge_by_checks(proofs: list[Proof]) -> None:
    subjects = []
    for proof in proofs:
        if proof.built.executable is None:
            proof.message = f"it does not compile: {proof.built.said.strip()[:400]}"
            continue
        wrong = proof.wrong
        again = f"{paths.door()} prove {proof.erratum.id}"
        subjects.append(
            Subject(
                proof.key,
                wrong.program,
                proof.built.executable,
                again,
                again_takes_only=False,
                check=wrong.check,
                case=wrong.case,
            )
        )
    if not subjects:
        return
    stages = dict.fromkeys(stage_named(proof.wrong.program) for proof in proofs)
    with ui.activity("grading wrong programs"):
        results = run_checks(subjects, [file for stage in stages for file in check_files(stage)], quiet=True)
    for proof in proofs:
        if proof.built.executable is not None:
            _judge(proof, [result for result in results if result.subject == proof.key])


def _judge(proof: Proof, results: list[CheckResult]) -> None:
    proof.seconds += sum(result.seconds for result in results)
    for result in results:
        text = "\n".join(text for _, text in result.rows)
        found = re.search(proof.wrong.says, text)
        if result.outcome == "rejected" and proof.erratum.id in result.errata and found:
            proof.rejected_by, proof.message = proof.wrong.check, _line_around(text, found)
            return
    told = [f"{result.outcome}: {result.errata} {result.message[:300]}" for result in results]
    rows = [f"{heading}: {text}" for result in results for heading, text in result.rows if heading in ("came", "found")]
    proof.message = "; ".join([*told[:3], *rows[:4]]) or "no such check was made"


def _line_around(text: str, found: re.Match[str]) -> str:
    start = text.rfind("\n", 0, found.start()) + 1
    end = text.find("\n", found.start())
    return text[start : end if end >= 0 else None].strip()[:160]


def _show(entries: list[Erratum], proofs: list[Proof]) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("erratum", "rejected by", "message"):
        table.add_column(heading, overflow="fold")
    table.add_column("seconds", justify="right")
    for entry in entries:
        for proof in (proof for proof in proofs if proof.erratum is entry):
            by = proof.rejected_by or "NOT REJECTED"
            table.add_row(
                entry.id if len(entry.wrong) == 1 else proof.key,
                by,
                proof.message.replace("[", r"\["),
                f"{proof.seconds:.1f}",
            )
        if entry.not_run:
            table.add_row(entry.id, "not run", entry.not_run, "")
    Console(width=None if Console().is_terminal else 160).print(table)
