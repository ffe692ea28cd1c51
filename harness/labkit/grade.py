"""lab grade: builds every program of a student's folder and judges each by the checks of its stage."""

import argparse
import hashlib
import json
import shlex
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit import builder, paths, ui
from labkit.errors import HarnessError
from labkit.graded import ENTRY_MISSING, FOLDER, Built, build_graded
from labkit.grading import CheckResult, check_files, run_checks
from labkit.stages import STAGES, Stage, stage_named
from labkit.subject import Subject
from labkit.verdict import reasons

# Raised with every change that a reader of the file could trip over. CONTRACT.md tells its form.
JSON_VERSION = 1


@dataclass
class Submission:
    source: Path
    program: str
    built: Built


def parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="lab grade", description="Grades every .cpp of DIR, or the one that is named, as a program of a stage."
    )
    parser.add_argument("submitted", metavar="DIR|FILE", type=Path)
    parser.add_argument("--stage", type=int, required=True, choices=[stage.number for stage in STAGES])
    parser.add_argument("--json", type=Path, metavar="F", help="write the verdicts there too")
    parser.add_argument("--junitxml", type=Path, metavar="F", help="write pytest's JUnit XML there")
    parser.add_argument(
        "--only", metavar="CHECK[CASE]", help="only this check, or this case of it, as verdicts name it"
    )
    parser.add_argument("-k", dest="picks", metavar="NAME", help="only the checks that pytest's -k picks, as 'a and b'")
    return parser.parse_args(words)


def grade_command(words: list[str]) -> int:
    options = parse(words)
    for file in (options.json, options.junitxml):
        if file is not None and not file.resolve().parent.is_dir():
            raise HarnessError(f"{file} cannot be written: its folder is not there")
        if file is not None:
            file.unlink(missing_ok=True)  # of an earlier run: whatever happens now, it must not pass for this one's
    try:
        return _grade(options)
    except HarnessError as error:
        if options.json:
            _write_json(
                options.json, {"version": JSON_VERSION, "stage": options.stage, "exit_code": 2, "error": f"{error}"}
            )
        raise


def _grade(options: argparse.Namespace) -> int:
    stage = next(stage for stage in STAGES if stage.number == options.stage)
    sources = _sources_of(options.submitted)
    builder.build("probe", "pipe_feeder")
    submissions = build_all(stage, sources)
    for submission in submissions:
        _show_build(submission)
    subjects = subjects_of(submissions, lambda submission: submission.source.stem, options.only or "")
    results: list[CheckResult] = []
    if subjects:
        extra = ["-q", *check_files(stage)]
        extra += ["-k", options.picks] if options.picks else []
        extra += [f"--junitxml={options.junitxml.resolve()}"] if options.junitxml else []
        results = run_checks(subjects, extra)
    code = exit_code_of(submissions, results)
    if options.json:
        _write_json(options.json, as_json(stage, submissions, results, code))
    _summarise(submissions, results)
    return code


def _sources_of(submitted: Path) -> list[Path]:
    if submitted.is_file() and submitted.suffix.lower() == ".cpp":
        return [submitted.resolve()]
    if not submitted.is_dir():
        raise HarnessError(f"{submitted} is no folder, and no .cpp file")
    sources = sources_in(submitted)
    if not sources:
        raise HarnessError(f"there is no .cpp file in {submitted}")
    return sources


def _write_json(file: Path, what: dict[str, Any]) -> None:
    file.write_text(json.dumps(what, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


ALTERNATIVES = paths.HARNESS / "alternatives"


def grade_references() -> int:
    """Grades our own programs, and those of harness/alternatives: all must be accepted."""
    builder.build("probe", "pipe_feeder")
    submissions = []
    for stage in STAGES:
        sources = [file for folder in (paths.ROOT, ALTERNATIVES) for file in sources_in(folder / stage.folder)]
        submissions += build_all(stage, sources)
    for submission in submissions:
        if submission.built.executable is None:
            _show_build(submission)
    subjects = subjects_of(submissions, _reference_key)
    files = [file for stage in STAGES for file in check_files(stage)]
    results = run_checks(subjects, ["-q", *files])
    _show_faults(subjects, results)
    rejected = {result.subject for result in results if result.outcome == "rejected"}
    built = len(subjects)
    ui.say(f"graded: {built} programs, {built - len(rejected)} accepted, {len(results)} verdicts")
    return exit_code_of(submissions, results)


def subjects_of(submissions: list[Submission], key: Callable[[Submission], str], only: str = "") -> list[Subject]:
    """Those that compile. `only`: a check, or a case of it, as --only takes it; empty: all."""
    check, _, case = only.partition("[")
    case = case.removesuffix("]")
    subjects = []
    for submission in submissions:
        folder = submission.source.parent
        alone = len(sources_in(folder)) == 1
        graded = shlex.quote(paths.shown(folder if alone else submission.source))
        again = f"{paths.door()} grade {graded} --stage {stage_named(submission.program).number}"
        if submission.built.executable is not None:
            executable = submission.built.executable
            subjects.append(Subject(key(submission), submission.program, executable, again, check=check, case=case))
    return subjects


def _reference_key(submission: Submission) -> str:
    ours = submission.source.parent.parent == paths.ROOT
    return submission.program if ours else f"{submission.program}~{submission.source.stem}"


def _show_faults(subjects: list[Subject], results: list[CheckResult]) -> None:
    """How many calls of each program were made to fail. Only a check that has passed tells its numbers."""
    for subject in subjects:
        numbers = [result.numbers for result in results if result.subject == subject.key and result.numbers]
        for found in numbers:
            ui.say(f"{subject.key}: {found['calls to fail']} calls found, {found['calls failed']} failed, none badly")


def sources_in(directory: Path) -> list[Path]:
    files = (file for file in sorted(directory.resolve().iterdir()) if file.is_file() and file.suffix.lower() == ".cpp")
    return [file for file in files if not file.stem.endswith("_test")]


def program_of(stage: Stage, source: Path) -> str:
    """Stage 4 has two programs: a file whose name begins with `four` is the first one, the problem."""
    if len(stage.programs) == 1:
        return stage.programs[0]
    return stage.programs[0] if source.stem.startswith("four") else stage.programs[1]


def build_all(stage: Stage, sources: list[Path]) -> list[Submission]:
    def build(source: Path) -> Submission:
        program = program_of(stage, source)
        place = hashlib.sha256(str(source.parent).encode()).hexdigest()[:8]
        folder = FOLDER / f"{source.parent.name}-{place}" / source.stem
        return Submission(source, program, build_graded(source, program, folder))

    with ThreadPoolExecutor(2) as pool, ui.activity(f"compiling {len(sources)} program(s)"):
        return list(pool.map(build, sources))


def exit_code_of(submissions: list[Submission], results: list[CheckResult]) -> int:
    if any(result.outcome == "harness" for result in results):
        return 2
    if any(submission.built.executable is None for submission in submissions):
        return 1
    if any(result.outcome == "rejected" for result in results):
        return 1
    if not any(result.outcome == "passed" for result in results):
        raise HarnessError("no check was made")
    return 0


def _show_build(submission: Submission) -> None:
    built = submission.built
    if built.said:
        print(built.said, end="" if built.said.endswith("\n") else "\n", flush=True)
    if built.executable is not None:
        return
    if built.verdict:
        ui.say(f"lab: {submission.source.name} compiles, with a warning that is a verdict:")
    else:
        ui.say(f"lab: {submission.source.name} does not compile: what the compiler said stands above")
        if ENTRY_MISSING.search(built.said):
            ui.say(
                "lab: each .cpp is built as one program, with the headers that it includes, and needs a main of its own"
            )
    for heading, text in reasons(built.verdict):
        print(f"  {heading:<10} {text}", flush=True)


def _summarise(submissions: list[Submission], results: list[CheckResult]) -> None:
    for submission in submissions:
        mine = [result for result in results if result.subject == submission.source.stem]
        counts = {name: sum(result.outcome == name for result in mine) for name in ("passed", "rejected", "harness")}
        if submission.built.executable is None:
            verdict = "REJECTED by the compiler"
        elif counts["harness"]:
            verdict = f"no verdict: the harness could not do its job in {counts['harness']} checks"
        elif counts["rejected"]:
            verdict = f"REJECTED by {counts['rejected']} of {len(mine)} checks"
        elif not mine:
            verdict = "not asked: no check of that name is for it"
        else:
            verdict = f"accepted, {counts['passed']} checks"
        ui.say(f"{submission.source.name} ({submission.program}): {verdict}")


def as_json(stage: Stage, submissions: list[Submission], results: list[CheckResult], code: int) -> dict[str, Any]:
    def checks_of(submission: Submission) -> list[dict[str, Any]]:
        return [
            {
                "check": result.check,
                "title": result.title,
                "outcome": result.outcome,
                "errata": result.errata,
                "verdict": [{"heading": heading, "text": text} for heading, text in result.rows],
                "message": result.message,
                "seconds": round(result.seconds, 3),
            }
            for result in results
            if result.subject == submission.source.stem
        ]

    return {
        "version": JSON_VERSION,
        "stage": stage.number,
        "exit_code": code,
        "programs": [
            {
                "source": str(submission.source),
                "program": submission.program,
                "compiles": submission.built.executable is not None or bool(submission.built.verdict),
                "compiler": submission.built.said,
                "errata": list(submission.built.verdict),
                "checks": checks_of(submission),
            }
            for submission in submissions
        ],
    }
