"""The picture of a run: no text over another, small, well-formed, and alive in a real browser."""

import html
import itertools
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from labkit import paths
from labkit.errors import Rejected
from labkit.judgement import verdict_of
from labkit.picture import Picture, draw, names
from labkit.picture.layout import RIGHT, System, Text
from labkit.subject import RecordedRun, Recording, Subject
from labkit.trace import parse_trace
from traces import trace_of


def trace_text(requests: int, threads: int) -> str:
    """A run that submits so many reads, whose packets so many workers take in turn."""
    lines: list[str] = []
    us = itertools.count(100, 37)
    seqs = itertools.count(2)

    def call(thread: int, name: str, *arguments: int, facts: str = "") -> int:
        seq = next(seqs)
        words = [f"{a:x}" for a in arguments] + ([facts] if facts else [])
        lines.append(
            "\t".join(["call", f"{seq}", f"{thread:x}", f"{next(us)}", f"{0x140001000 + seq:x}", name, *words])
        )
        return seq

    def done(seq: int, thread: int, result: int, error: int = 0, facts: str = "") -> None:
        end = [facts] if facts else []
        lines.append("\t".join(["done", f"{seq}", f"{thread:x}", f"{next(us)}", f"{result:x}", f"{error}", *end]))

    lines.append("note\t1\t24\t1\tbegin\tbase=140000000")
    done(call(0x24, "CreateIoCompletionPort", (1 << 64) - 1, 0, 0, 0), 0x24, 0x30)
    done(call(0x24, "CreateFileW", 0x1000, 1, 1, 0, 3, 0x40000000, 0, facts="path=<&\"'>.txt"), 0x24, 0x34)
    done(call(0x24, "CreateIoCompletionPort", 0x34, 0x30, 100, 0), 0x24, 0x30)
    waiting = {t: call(t, "GetQueuedCompletionStatus", 0x30, 1, 2, 3, 0xFFFFFFFF) for t in range(0x50, 0x50 + threads)}
    for n in range(requests):
        ov, facts = (
            0x10000 + n * 64,
            f"ov={0x10000 + n * 64:x}\tov_in=heap:{n}\tbuf=99\tbuf_in=heap:{n}\tlen=1000\toff=0",
        )
        done(call(0x24, "ReadFile", 0x34, 0x99, 0x1000, 0, ov, facts=facts), 0x24, 0, 997)
    for n in range(requests):
        thread = 0x50 + n % threads
        done(waiting[thread], thread, 1, 0, f"bytes=1000\tkey=64\tov={0x10000 + n * 64:x}")
        lines.append(f"note\t{next(seqs)}\t{thread:x}\t{next(us)}\tfree\tblock={n}\thow=delete\tat=140001000")
        waiting[thread] = call(thread, "GetQueuedCompletionStatus", 0x30, 1, 2, 3, 0xFFFFFFFF)
    lines.append(f"note\t{next(seqs)}\t24\t{next(us)}\tdouble-free\tblock=0\tat=140001000")
    return "\n".join(lines) + "\n"


def picture(requests: int, threads: int) -> Picture:
    return draw(
        parse_trace(trace_text(requests, threads)), lambda address: f"iocp_files.hpp:{address & 0xFFF}", "a <run>"
    )


sizes = pytest.mark.parametrize(("requests", "threads"), [(1, 1), (4, 2), (60, 8)])


def overlapping(system: System) -> list[tuple[Text, Text]]:
    return [
        (one, other)
        for one, other in itertools.combinations(system.texts, 2)
        if one.x < other.x + other.width
        and other.x < one.x + one.width
        and one.y < other.y + other.height
        and other.y < one.y + one.height
    ]


@sizes
def test_no_text_lies_on_another(requests: int, threads: int) -> None:
    """No text of a picture overlaps another, and none leaves the page."""
    for system in picture(requests, threads).systems:
        assert overlapping(system) == []
        for text in system.texts:
            assert text.x >= 0 and text.x + text.width <= RIGHT + 14, text
            assert text.y >= 0 and text.y + text.height <= system.height, text


@sizes
def test_every_call_is_drawn_in_order(requests: int, threads: int) -> None:
    """Every call has its bar, with one anchor, and time never runs backwards in a row."""
    drawn = picture(requests, threads)
    page = drawn.html()
    for bar in drawn.story.bars:
        assert page.count(f'id="seq-{bar.seq}"') == 1
    for system in drawn.systems:
        assert all(rect.width > 0 and rect.x + rect.width <= RIGHT + 6 for rect in system.rects)


@sizes
def test_the_picture_is_small_and_well_formed(requests: int, threads: int) -> None:
    """The page is under 300 KB and asks for nothing from outside; the SVG is XML; drawn again it is the same."""
    drawn = picture(requests, threads)
    page = drawn.html()
    assert len(page.encode()) < 300_000
    assert not re.search(r"(src|href)=|url\(|@import|https?://(?!www\.w3\.org)", page)
    assert ElementTree.fromstring(drawn.svg()).tag.endswith("svg")
    assert drawn.svg() == picture(requests, threads).svg()


def test_a_long_run_is_cut_and_says_so() -> None:
    """A run of thousands of calls still makes a small page, which says what is not drawn."""
    drawn = picture(2000, 4)
    assert len(drawn.html().encode()) < 300_000
    assert f"{drawn.story.left_out} calls are not drawn" in drawn.html()


def test_the_kernel_owns_from_submit_to_observed() -> None:
    """Ownership goes from main to the kernel at the submit, and to the worker that takes the packet."""
    (context,) = picture(1, 1).story.contexts
    assert [span.owner for span in context.spans] == [0, -1, 1]
    assert context.freed


@sizes
def test_chrome_events_are_of_the_format(requests: int, threads: int) -> None:
    """Each event has what its phase needs, and every asynchronous begin has its end."""
    events = json.loads(picture(requests, threads).chrome_json())["traceEvents"]
    for event in events:
        assert event["ph"] in "XMbei" and isinstance(event["name"], str)
        assert isinstance(event["pid"], int) and isinstance(event["tid"], int)
        assert event["ph"] == "M" or event["ts"] >= 0
        assert event["ph"] != "X" or event["dur"] >= 0
    begun = [event["id"] for event in events if event["ph"] == "b"]
    assert sorted(begun) == sorted(event["id"] for event in events if event["ph"] == "e")
    assert len(begun) == requests


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

# Runs in the page after its own script: what went wrong, what is highlighted, and which texts really overlap.
LOOK = """<script>
const failures = []; addEventListener("error", e => failures.push(e.message));
addEventListener("load", () => {
  let overlaps = 0;
  for (const svg of document.querySelectorAll("svg")) {
    const boxes = [...svg.querySelectorAll("text")].map(t => t.getBBox());
    boxes.forEach((a, i) => boxes.slice(i + 1).forEach(b => {
      if (a.x < b.x + b.width && b.x < a.x + a.width &&
          a.y + 2 < b.y + b.height && b.y + 2 < a.y + a.height) overlaps++;
    }));
  }
  const hit = [...document.querySelectorAll("rect.hit")].map(r => r.dataset.seq);
  document.title = JSON.stringify({failures, overlaps, hit, about: document.getElementById("about").textContent});
});</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed; the lab does not need it")
@sizes
def test_a_browser_opens_it_at_a_call(tmp_path: Path, requests: int, threads: int) -> None:
    """In Chromium the page has no error, no overlapping text, and #seq-N highlights that call and tells of it."""
    file = tmp_path / "page.html"
    file.write_text(picture(requests, threads).html().replace("<style>", LOOK + "<style>", 1), encoding="utf-8")
    quiet = "--disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update"
    words = [str(CHROMIUM), "--headless", "--no-sandbox", *quiet.split(), "--disable-sync"]
    words += [f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", f"{file.as_uri()}#seq-3"]
    shown = subprocess.run(words, capture_output=True, text=True, check=True, timeout=120).stdout
    match = re.search(r"<title>(\{.*?\})</title>", shown, re.DOTALL)
    assert match, shown[:2000]
    seen = json.loads(html.unescape(match[1]))
    assert seen["failures"] == []
    assert seen["overlaps"] == 0
    assert set(seen["hit"]) == {"3"}
    assert "CreateFileW" in seen["about"] and "<&" in seen["about"]


def test_a_verdict_links_the_moment_in_its_picture(tmp_path: Path) -> None:
    """A run that was rejected is drawn, and the verdict names the page and the call in it."""
    recording = Recording(Subject("picture-test", "iocp_files", tmp_path / "program.exe"), tmp_path)
    run = RecordedRun("program.exe", recording.new_trace())
    recording.runs.append(run)
    text = trace_text(1, 1).encode()  # it ends with a double free
    run.trace.write_bytes(len(text).to_bytes(8, "little") + text)
    verdict = verdict_of(recording, None, "test_it")
    assert verdict is not None
    link = dict(verdict.rows)["picture"]
    file, _, place = link.partition("#")
    page = (paths.ROOT / file).read_text(encoding="utf-8")
    (paths.ROOT / file).unlink()
    assert f'data-seq="{place.removeprefix("seq-")}"' in page


def test_a_verdict_speaks_of_its_own_run(tmp_path: Path) -> None:
    """What another run of the same check did wrong is not told, and not drawn, under the verdict about this one."""
    recording = Recording(Subject("own-run-test", "iocp_files", tmp_path / "program.exe"), tmp_path)
    text = trace_text(1, 1)  # it ends with a double free
    lines = [line for line in text.splitlines(keepends=True) if "double-free" not in line]
    for content in ("".join(lines).encode(), text.encode()):
        run = RecordedRun("program.exe", recording.new_trace())
        run.trace.write_bytes(len(content).to_bytes(8, "little") + content)
        recording.runs.append(run)

    def told(rejected: Rejected | None) -> str:
        verdict = verdict_of(recording, rejected, "test_it")
        assert verdict is not None
        (paths.ROOT / dict(verdict.rows)["picture"].partition("#")[0]).unlink()
        return "\n".join(text for heading, text in verdict.rows if heading == "found")

    assert "a second time" in told(None)
    assert "a second time" not in told(Rejected([("asked", "program.exe")], (), recording.runs[0].trace))


def test_what_a_check_has_brought_about_is_named() -> None:
    """A call that the lab has made to fail does not look as if it had failed by itself."""
    planted, own = trace_of("main CreateEventW 0 1 0 0 -> 0 8 injected=fail\nmain CreateEventW 0 1 0 0 -> 0 8").calls
    assert names.outcome(planted, {}) == "error 8, by the lab"
    assert names.outcome(own, {}) == "error 8"
