"""What the traces of a check's runs say, as a verdict beside what the check itself has seen."""

from labkit.errors import Rejected
from labkit.rules import Finding, judge
from labkit.source_lines import SourceLines
from labkit.stages import stage_named
from labkit.subject import RecordedRun, Recording, Subject
from labkit.trace import read_trace
from labkit.verdict import reasons

# A run with more findings than this shows the first; the others mostly follow from them.
MOST_FINDINGS = 4


def findings_in(subject: Subject, run: RecordedRun) -> list[tuple[Finding, str]]:
    """What the rules find in one run, each with the source line it is about."""
    if not run.trace.exists():  # it never came as far as the probe: its output has told why
        return []
    trace = read_trace(run.trace)
    findings = judge(trace, stage_named(subject.program).number, subject.program, hang=run.hang)
    lines = SourceLines(subject.executable, trace.base)
    lines.learn(address for finding in findings for address in finding.addresses)
    return [(finding, _where(finding, lines)) for finding in findings]


def _where(finding: Finding, lines: SourceLines) -> str:
    places = (lines.line(address) for address in finding.addresses)
    return ", ".join(dict.fromkeys(place for place in places if place))


def rows_for(found: list[tuple[Finding, str]]) -> list[tuple[str, str]]:
    rows = []
    for finding, where in found[:MOST_FINDINGS]:
        rows.append(("found", finding.message))
        if where:
            rows.append(("where", where))
    if len(found) > MOST_FINDINGS:
        rows.append(("", f"... and {len(found) - MOST_FINDINGS} more"))
    return rows


def verdict_of(recording: Recording, rejected: Rejected | None) -> Rejected | None:
    """The check's own verdict, with what the traces add to it; or theirs alone; or None: all is well."""
    rows: list[tuple[str, str]] = []
    errata: list[str] = []
    for run in recording.runs:
        found = findings_in(recording.subject, run) if run.judged or rejected else []
        if found and not rows:  # the other runs mostly say the same once more
            rows = ([] if rejected else [("asked", run.command)]) + rows_for(found)
        errata += [name for finding, _ in found for name in finding.errata]
    if not rows:
        return rejected
    before = rejected.errata if rejected else ()
    names = list(dict.fromkeys([*before, *errata]))
    new = [name for name in names if name not in before][:MOST_FINDINGS]
    return Rejected([*(rejected.rows if rejected else []), *rows, *reasons(new)], names)
