"""A picture of a run: who owned which request, call by call."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from labkit import paths
from labkit.picture import chrome, page, svg
from labkit.picture.layout import System, lay_out
from labkit.picture.story import Story, tell
from labkit.source_lines import SourceLines
from labkit.trace import Trace

FOLDER = paths.BUILD / "trace"  # where pictures are written
MOST_BYTES = 300_000  # a page's


@dataclass(frozen=True)
class Picture:
    story: Story
    systems: list[System]

    def svg(self) -> str:
        return svg.render(self.systems, self.story.title)

    def html(self) -> str:
        return page.page(self.story, self.systems)

    def chrome_json(self) -> str:
        return chrome.chrome_json(self.story)


def draw(
    trace: Trace,
    source_lines: Callable[..., str],
    title: str,
    functions: Callable[[int], str] | None = None,
    around: int | None = None,
) -> Picture:
    """Draws a trace. `around`: the call that must be in the picture even if the run is too long for all of it."""
    for most_calls in (384, 192, 96, 48):
        story = tell(trace, source_lines, title, functions, around, most_calls)
        picture = Picture(story, lay_out(story))
        if len(picture.html().encode()) < MOST_BYTES:
            break
    return picture


def picture_of(executable: Path, trace: Trace, name: str, around: int | None = None) -> Picture:
    """Draws a run of this executable, with the lines of its source."""
    lines = SourceLines(executable, trace.base)
    lines.learn(call.return_address for call in trace.calls)
    return draw(trace, lines.line, f"{name}: who owns the request, call by call", lines.function, around)
