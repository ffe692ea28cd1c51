"""Where everything stands. From a Story to rectangles, lines and texts with exact places: no markup here.

Time is ordinal: every call's begin and return is one step to the right, however long it took, because a wait of 25 ms
would squeeze everything else into one pixel. Like a musical score, the picture goes on in a next row (a System) where
the width is used up, so that it needs no scrolling sideways, fits a README and can be printed.

No two texts overlap, by construction: a step to the right is as wide as the labels of its thread's lane need; a label
that has no room beside its neighbour stands lower (see Shelf); a text inside a box is left out when the box is too
small.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from labkit.picture.story import KERNEL, Bar, Mark, Span, Story
from labkit.picture.text import LABEL_SIZE, SMALL_SIZE, milliseconds, width

PAGE = 1080.0
LEFT = 132.0  # what stands left of it names the lanes
RIGHT = PAGE - 14.0

STEP = 11.0  # from one event to the next, at least
SHORTEST_BAR = 15.0
LEVELS = 3  # labels of one lane may stand at this many heights
LABEL_HEIGHT = 25.0  # two lines
LABEL_GAP = 9.0
BAR_HEIGHT = 13.0
LANE_GAP = 11.0
STRIP_HEIGHT = 17.0
LIFE_HEIGHT = 7.0
LIFE_PITCH = 13.0
AXIS_HEIGHT = 18.0
AXIS_LABEL_EVERY = 84.0


@dataclass(frozen=True)
class Rect:
    x: float
    y: float
    width: float
    height: float
    style: str
    seq: int | None = None  # of the call that it stands for
    first: bool = True  # false: the continuation of a bar that began in an earlier row


@dataclass(frozen=True)
class Text:
    """Its box: `y` is the top, not the base line."""

    x: float
    y: float
    text: str
    style: str
    size: float = LABEL_SIZE
    seq: int | None = None

    @property
    def width(self) -> float:
        return width(self.text, self.size)

    @property
    def height(self) -> float:
        return self.size * 1.1

    @property
    def baseline(self) -> float:
        return self.y + self.size * 0.85


@dataclass(frozen=True)
class Line:
    x1: float
    y1: float
    x2: float
    y2: float
    style: str


@dataclass
class System:
    """One row of the score: what happened from one event to another."""

    first: int
    last: int
    height: float = 0.0
    rects: list[Rect] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)


@dataclass(frozen=True)
class Label:
    """The two lines above a bar."""

    x: float
    level: int
    upper: str
    lower: str
    seq: int

    @property
    def end(self) -> float:
        return self.x + label_width(self.upper, self.lower)


class Shelf:
    """The labels of one lane. Each has a thin line down to its bar, and none of these lines runs through a label:
    a label may stand at a height only where this height and all below it are free."""

    def __init__(self) -> None:
        self.labels: list[Label] = []
        self._ends = [LEFT - LABEL_GAP] * LEVELS  # from the lowest height up

    def first_place(self, wanted: float) -> float:
        return max(wanted, self._ends[0] + LABEL_GAP)

    def put(self, x: float, bar: Bar | Mark, prefix: str = "") -> None:
        level = 0
        while level + 1 < LEVELS and self._ends[level + 1] + LABEL_GAP <= x:
            level += 1
        upper, lower = label_lines(bar, prefix)
        label = Label(x, level, upper, lower, bar.seq)
        self.labels.append(label)
        self._ends[level] = label.end

    def settled(self) -> list[Label]:
        """The labels as low as they can stand: heights were chosen before it was known who comes next."""
        settled: list[Label] = []
        for label in sorted(self.labels, key=lambda one: (one.level, one.x)):
            level = label.level
            while level > 0 and not any(_meet(label, other) for other in settled if other.level == level - 1):
                level -= 1
            settled.append(Label(label.x, level, label.upper, label.lower, label.seq))
        return settled


def _meet(one: Label, other: Label) -> bool:
    return one.x < other.end + LABEL_GAP and other.x < one.end + LABEL_GAP


def label_lines(bar: Bar | Mark, prefix: str = "") -> tuple[str, str]:
    """Name, outcome and source line in two lines, divided so that they are short."""
    name = prefix + bar.name
    outcome = f"→ {bar.outcome}" if bar.outcome else ""
    one = (f"{name} {outcome}".strip(), bar.source)
    other = (name, f"{outcome} {bar.source}".strip())
    return min(one, other, key=lambda lines: label_width(*lines))


def label_width(upper: str, lower: str) -> float:
    return max(width(upper, LABEL_SIZE), width(lower, SMALL_SIZE))


# ---------------------------------------------------------------- from left to right


@dataclass
class _Row:
    """A system in the making: the places of its events, and the labels of its lanes."""

    first: int
    x: dict[int, float] = field(default_factory=dict)
    shelves: dict[int, Shelf] = field(default_factory=dict)
    last_x: float = LEFT - STEP

    def shelf(self, thread: int) -> Shelf:
        return self.shelves.setdefault(thread, Shelf())


def lay_out(story: Story) -> list[System]:
    return [_draw(story, row) for row in _rows(story)]


def _rows(story: Story) -> list[_Row]:
    begins: dict[int, Bar | Mark] = {bar.begin: bar for bar in story.bars} | {mark.at: mark for mark in story.marks}
    ends = {bar.end: bar for bar in story.bars if bar.end is not None}
    rows: list[_Row] = []
    under_way: dict[int, Bar] = {}  # by sequence number
    row: _Row | None = None
    for tick in range(len(story.times)):
        beginning, ending = begins.get(tick), ends.get(tick)
        x = _place(row, beginning, ending) if row is not None else RIGHT + 1
        if row is None or x > RIGHT - (_room(beginning) if row.x else 0):
            row = _Row(tick)
            rows.append(row)
            for bar in under_way.values():
                row.shelf(bar.thread).put(LEFT, bar, "… ")
            # What goes on from the row above is seen to go on: the first event does not stand at the very edge.
            row.last_x = LEFT if under_way else row.last_x
            x = _place(row, beginning, ending)
        row.x[tick] = row.last_x = x
        if beginning is not None:
            row.shelf(beginning.thread).put(x, beginning)
            if isinstance(beginning, Bar):
                under_way[beginning.seq] = beginning
        if ending is not None:
            under_way.pop(ending.seq, None)
    return rows


def _place(row: _Row, beginning: Bar | Mark | None, ending: Bar | None) -> float:
    x = row.last_x + STEP
    if ending is not None:
        x = max(x, row.x.get(ending.begin, LEFT) + SHORTEST_BAR)
    if beginning is not None:
        x = row.shelf(beginning.thread).first_place(x)
    return x


def _room(beginning: Bar | Mark | None) -> float:
    """What must be free right of an event."""
    return 0.0 if beginning is None else max(label_width(*label_lines(beginning)), SHORTEST_BAR)


# ---------------------------------------------------------------- from top to bottom


def _draw(story: Story, row: _Row) -> System:
    system = System(row.first, max(row.x))
    y = _axis(story, row, system)
    lanes: dict[int, float] = {}
    for thread in range(len(story.threads)):
        if _is_alive(story, thread, system):
            y = _thread_lane(story, row, system, thread, y, lanes)
    if any(_within(span, system) for span in story.flights):
        y = _kernel_lane(story, row, system, y, lanes)
    y = _ownership(story, row, system, y)
    y = _handles(story, row, system, y)
    system.height = y + 6
    _arrows(story, row, system, lanes)
    return system


def _within(span: Span, system: System) -> bool:
    return span.begin <= system.last and (span.end is None or span.end >= system.first)


def _is_alive(story: Story, thread: int, system: System) -> bool:
    return _within(story.threads[thread].alive, system)


def _from_to(row: _Row, system: System, span: Span) -> tuple[float, float]:
    """A span's left and right end in this row; what goes on beyond the row ends at its edge."""
    left = row.x.get(span.begin, LEFT)
    goes_on = span.end is None or span.end > system.last
    return left, RIGHT if goes_on or span.end is None else max(row.x[span.end], left + 2)


def _axis(story: Story, row: _Row, system: System) -> float:
    free_from = LEFT
    for tick, x in row.x.items():
        text = milliseconds(story.times[tick])
        if x >= free_from and x + width(text, SMALL_SIZE) <= RIGHT:
            system.texts.append(Text(x, 2, text, "dim", SMALL_SIZE))
            system.lines.append(Line(x, 14, x, AXIS_HEIGHT, "rule"))
            free_from = x + AXIS_LABEL_EVERY
    return AXIS_HEIGHT


def _name_lane(system: System, y: float, name: str, more: str = "") -> None:
    room = LEFT - 22
    system.texts.append(Text(12, y, _shortened(name, room, LABEL_SIZE), "name"))
    if more:
        system.texts.append(Text(12, y + 12.5, _shortened(more, room, SMALL_SIZE), "dim", SMALL_SIZE))


def _shortened(text: str, room: float, size: float) -> str:
    while width(text, size) > room:
        text = text[:-2] + "…"
    return text


def _thread_lane(story: Story, row: _Row, system: System, thread: int, y: float, lanes: dict[int, float]) -> float:
    labels = row.shelf(thread).settled()
    levels = 1 + max((label.level for label in labels), default=0)
    top = y + LANE_GAP + levels * LABEL_HEIGHT
    lanes[thread] = top
    about = story.threads[thread]
    _name_lane(system, top - 6, about.name, f"thread {about.id:04x}")
    left, right = _from_to(row, system, about.alive)
    system.lines.append(Line(left, top + BAR_HEIGHT / 2, right, top + BAR_HEIGHT / 2, "rule"))
    marked = {mark.seq for mark in story.marks}
    for label in labels:
        text_top = top - 1 - (label.level + 1) * LABEL_HEIGHT
        style = "bad" if label.seq in marked else "label"
        system.lines.append(Line(label.x, text_top + 2, label.x, top, "lead"))
        system.texts.append(Text(label.x + 3, text_top, label.upper, style, seq=label.seq))
        if label.lower:
            system.texts.append(Text(label.x + 3, text_top + 12.5, label.lower, "dim", SMALL_SIZE, label.seq))
    for bar in story.bars:
        if bar.thread == thread and _within(Span(bar.begin, bar.end), system):
            left, right = _from_to(row, system, Span(bar.begin, bar.end))
            shade = " failed" if bar.failed else " wait" if bar.waits else ""
            rect = Rect(left, top, right - left, BAR_HEIGHT, f"o{thread % 8}{shade}", bar.seq, bar.begin in row.x)
            system.rects.append(rect)
    for mark in story.marks:
        if mark.thread == thread and mark.at in row.x:
            system.rects.append(Rect(row.x[mark.at], top - 3, 5, BAR_HEIGHT + 6, "alarm", mark.seq))
    return top + BAR_HEIGHT


def _kernel_lane(story: Story, row: _Row, system: System, y: float, lanes: dict[int, float]) -> float:
    top = y + LANE_GAP + 8
    lanes[KERNEL] = top
    _name_lane(system, top - 3, "kernel", "requests it holds")
    for span in story.held:
        if not _within(span, system):
            continue
        left, right = _from_to(row, system, span)
        system.rects.append(Rect(left, top, right - left, STRIP_HEIGHT, "ok"))
        _text_inside(system, left, right, top, (span.text, str(len(span.text.split()))), "on ok-text")
    return top + STRIP_HEIGHT + 4


def _text_inside(system: System, left: float, right: float, top: float, texts: Iterable[str], style: str) -> None:
    """The first of the texts that fits, in the middle; or none."""
    for text in texts:
        room = width(text, SMALL_SIZE)
        if room + 6 <= right - left:
            x = left + (right - left - room) / 2
            system.texts.append(Text(x, top + (STRIP_HEIGHT - SMALL_SIZE) / 2, text, style, SMALL_SIZE))
            return


def _ownership(story: Story, row: _Row, system: System, y: float) -> float:
    shown = [context for context in story.contexts if any(_within(span, system) for span in context.spans)]
    if not shown:
        return y
    y += LANE_GAP
    system.texts.append(Text(12, y, "who owns OVERLAPPED and buffer", "head", SMALL_SIZE))
    y += 14
    for context in shown:
        _name_lane(system, y + 3, context.name)
        for span in context.spans:
            if not _within(span, system):
                continue
            left, right = _from_to(row, system, span)
            kernel = span.owner == KERNEL
            style = "ok" if kernel else f"o{span.owner % 8}"
            system.rects.append(Rect(left, y, right - left, STRIP_HEIGHT, style, span.seq, False))
            words = ("the kernel: hands off", "kernel", "k") if kernel else (story.threads[span.owner].name,)
            _text_inside(system, left, right, y, words, f"on {style}-text")
        end = context.spans[-1].end
        if context.freed and end is not None and end in row.x and row.x[end] + 5 + width("freed", SMALL_SIZE) < RIGHT:
            system.texts.append(Text(row.x[end] + 5, y + 3, "freed", "dim", SMALL_SIZE))
        y += STRIP_HEIGHT + 4
    return y


def _handles(story: Story, row: _Row, system: System, y: float) -> float:
    shown = [life for life in story.lives if _within(life.span, system)]
    if not shown:
        return y
    y += LANE_GAP - 2
    system.texts.append(Text(12, y, "handles", "head", SMALL_SIZE))
    y += 14
    for life in shown:
        left, right = _from_to(row, system, life.span)
        style = "life open" if life.span.end is None else "life"
        system.rects.append(Rect(left, y + 3, right - left, LIFE_HEIGHT, style, life.span.seq, False))
        system.texts.append(Text(12, y + 1, _shortened(life.name, LEFT - 22, SMALL_SIZE), "dim", SMALL_SIZE))
        y += LIFE_PITCH
    return y


def _arrows(story: Story, row: _Row, system: System, lanes: dict[int, float]) -> None:
    """From the call that gives a request away down to the kernel, and from there up to the one that sees it back."""
    kernel = lanes.get(KERNEL)
    if kernel is None:
        return
    for span in story.flights:
        if span.begin in row.x and span.giver in lanes:
            x = row.x[span.begin]
            system.lines.append(Line(x, lanes[span.giver] + BAR_HEIGHT, x, kernel - 1, "arrow"))
        if span.end is not None and span.end in row.x and span.taker in lanes:
            x = row.x[span.end]
            system.lines.append(Line(x, kernel, x, lanes[span.taker] + BAR_HEIGHT + 1, "arrow"))
