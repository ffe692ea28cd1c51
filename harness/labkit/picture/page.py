"""The picture as one page of HTML that needs nothing from outside."""

import json
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from labkit.picture import names
from labkit.picture.layout import PAGE, System
from labkit.picture.story import Bar, Mark, Story
from labkit.picture.svg import render_system, style
from labkit.picture.text import milliseconds


def page(story: Story, systems: list[System]) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    told = {bar.seq: _about(story, bar) for bar in story.bars} | {m.seq: _about_mark(story, m) for m in story.marks}
    # "</script>" in a path must not end the script element.
    calls = json.dumps(told, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return environment.get_template("page.html.jinja").render(
        title=story.title,
        style=Markup(style()),
        page=f"{PAGE:g}",
        left_out=story.left_out,
        contexts_left_out=story.contexts_left_out,
        systems=[{"height": f"{s.height:g}", "markup": Markup(render_system(s, with_ids=True))} for s in systems],
        calls=Markup(calls),
    )


def _about(story: Story, bar: Bar) -> str:
    call = bar.call
    took = "never returned" if call.end_us is None else f"took {milliseconds(call.end_us - call.begin_us)}"
    head = f"{bar.seq}  {story.threads[bar.thread].name}  {call.name}  {bar.source}".rstrip()
    lines = [head, f"at {milliseconds(call.begin_us)}, {took}  → {bar.outcome or 'done'}"]
    lines.append("  ".join(f"{name}={value}" for name, value in names.parameters(call)))
    lines.append("  ".join(f"{name}={value}" for name, value in (call.facts | call.came).items()))
    if call.result is not None:
        lines.append(f"returned {call.result:x}, GetLastError {call.error}")
    return "\n".join(line for line in [*lines, bar.ownership] if line)


def _about_mark(story: Story, mark: Mark) -> str:
    facts = "  ".join(f"{name}={value}" for name, value in mark.note.facts.items())
    head = f"{mark.seq}  {story.threads[mark.thread].name}  {mark.name}  {mark.source}"
    return f"{head}\nat {milliseconds(mark.note.us)}\n{facts}"
