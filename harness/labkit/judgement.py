"""What the traces of a check's runs say, as a verdict beside what the check itself has seen."""

import re

from labkit import paths
from labkit.errors import Rejected
from labkit.picture import FOLDER, picture_of
from labkit.rules import Finding, judge
from labkit.source_lines import SourceLines
from labkit.stages import stage_named
from labkit.subject import RecordedRun, Recording, Subject
from labkit.trace import read_trace
from labkit.verdict import reasons

# What Wine says of a program that has crashed; Windows says nothing.
CRASH = re.compile(r"^\| wine: Unhandled .* at address (?:0x)?([0-9A-Fa-f]+)")

# A run with more findings than this shows the first; the others mostly follow from them.
MOST_FINDINGS = 4


def findings_in(subject: Subject, run: RecordedRun) -> list[tuple[Finding, str]]:
    """What the rules find in one run, each with the source line it is about."""
    if not run.trace.exists():  # it never came as far as the probe: its output has told why
        return []
    trace = read_trace(run.trace)
    findings = judge(trace, stage_named(subject.program).number, subject.program, hang=run.hang)
    lines = SourceLines(subject.executable, trace.base)
    lines.learn(address for finding in findings for chain in finding.addresses for address in chain)
    return [(finding, _where(finding, lines)) for finding in findings]


def _where(finding: Finding, lines: SourceLines) -> str:
    places = (lines.line(*chain) for chain in finding.addresses)
    return ", ".join(dict.fromkeys(place for place in places if place))


def _rows_for(found: list[tuple[Finding, str]]) -> list[tuple[str, str]]:
    rows = []
    for finding, where in found[:MOST_FINDINGS]:
        rows.append(("found", finding.message))
        if where:
            rows.append(("where", where))
        if finding.right:
            rows.append(("right", finding.right))
    if len(found) > MOST_FINDINGS:
        rows.append(("", f"... and {len(found) - MOST_FINDINGS} more"))
    return rows


def verdict_of(recording: Recording, rejected: Rejected | None, check: str) -> Rejected | None:
    """The check's own verdict, with what the trace of its run adds to it; or what the traces say alone; or None: all is
    well. `check`: its name, with the case, for the picture of the run that it is about."""
    shown: RecordedRun | None = None
    shows: list[tuple[Finding, str]] = []
    errata: list[str] = []
    about = [run for run in recording.runs if rejected and run.trace == rejected.trace]
    for run in about or recording.runs:
        found = findings_in(recording.subject, run) if run.judged or rejected else []
        if found and not shows:  # the other runs mostly say the same once more
            shown, shows = run, found
        errata += [name for finding, _ in found for name in finding.errata]
    if not shows and rejected is None:
        return None
    rows = list(rejected.rows) if rejected else []
    rows += _crash(recording.subject, rows, about[0] if about else None)
    if shown is not None:
        rows += ([] if rejected else [("asked", shown.command)]) + _rows_for(shows)
    rows += _picture(recording, shown or next(iter(about), None), shows, check)
    before = rejected.errata if rejected else ()
    names = list(dict.fromkeys([*before, *errata]))
    new = [name for name in names if name not in before][:MOST_FINDINGS]
    return Rejected([*rows, *reasons(new)], names)


def _crash(subject: Subject, rows: list[tuple[str, str]], run: RecordedRun | None) -> list[tuple[str, str]]:
    """A row with the line at which the program has crashed, if Wine's own words on its stderr are among these."""
    match = next((match for _, text in rows if (match := CRASH.search(text))), None)
    if match is None:
        return []
    base = read_trace(run.trace).base if run is not None and run.trace.exists() else 0
    place = SourceLines(subject.executable, base).line(int(match[1], 16) + 1)  # it is no return address
    return [("crashed", f"at {place}" if place else "in code that is not the program's own")]


def _picture(
    recording: Recording, run: RecordedRun | None, found: list[tuple[Finding, str]], check: str
) -> list[tuple[str, str]]:
    """A row with the picture of that run, at the moment that was found; of the last run, if none has a finding."""
    drawn = [one for one in recording.runs if one.trace.exists()]
    run = run or (drawn[-1] if drawn else None)
    if run is None or not run.trace.exists():
        return []
    trace = read_trace(run.trace)
    if not trace.calls:
        return []
    around = found[0][0].seq if found else None
    subject = recording.subject
    file = FOLDER / (re.sub(r"[^\w.~-]+", "-", f"{subject.key}-{check}") + ".html")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(picture_of(subject.executable, trace, run.command, around).html(), encoding="utf-8")
    return [("picture", f"{paths.shown(file)}{f'#seq-{around}' if around else ''}")]
