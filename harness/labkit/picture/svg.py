"""The drawing as SVG: what layout.py has placed. Colours are in one style sheet for light, dark and print."""

from html import escape

from labkit.picture.layout import PAGE, Rect, System, Text
from labkit.picture.text import LABEL_SIZE

MONO = 'ui-monospace,Consolas,Menlo,"DejaVu Sans Mono",monospace'

# Owners: threads 0 to 7. Light with white text, dark with black text.
LIGHT = ("#2f6fb0", "#2e8b57", "#8a4fae", "#a5364f", "#557a1f", "#0f7f8c", "#6b5bd0", "#7a6047")
DARK = ("#7fb4ea", "#77cf9c", "#c79ae6", "#ee8fa3", "#a9cc6b", "#63cbd8", "#aca0ff", "#cfb08f")
GREY = ("#ffffff", "#d9d9d9", "#f0f0f0", "#c4c4c4", "#e4e4e4", "#cfcfcf", "#f7f7f7", "#bcbcbc")


def _theme(paper: str, ink: str, dim: str, rule: str, kernel: str, on: str, owners: tuple[str, ...], bad: str) -> str:
    rules = [
        f".bg{{fill:{paper}}}text{{fill:{ink};stroke:{paper}}}.dim{{fill:{dim}}}.bad{{fill:{bad}}}",
        f".rule,.lead{{stroke:{rule}}}.arrow{{stroke:{kernel}}}.ok{{fill:{kernel}}}.life{{fill:{dim}}}",
        f".alarm{{fill:{bad}}}.failed,.life.open{{stroke:{bad}}}.on{{fill:{on};stroke:none}}",
    ]
    return "".join([*rules, *(f".o{i}{{fill:{colour}}}" for i, colour in enumerate(owners))])


def style() -> str:
    light = _theme("#ffffff", "#222222", "#666666", "#cccccc", "#b84d12", "#ffffff", LIGHT, "#c00020")
    dark = _theme("#14171b", "#e4e6e8", "#9aa2ab", "#454c54", "#ee9a63", "#101214", DARK, "#ff6f7f")
    grey = _theme("#ffffff", "#000000", "#444444", "#aaaaaa", "#9a9a9a", "#000000", GREY, "#000000")
    return (
        f"text{{font-family:{MONO};font-size:{LABEL_SIZE:g}px;paint-order:stroke;stroke-width:3px}}"
        "rect:not(.bg){rx:2px}.s{font-size:10px}.name,.head{font-weight:600}"
        ".arrow{stroke-dasharray:3 2}.wait{fill-opacity:.45}"
        ".failed,.life.open{stroke-width:2px}.life{fill-opacity:.6}"
        f"{light}@media (prefers-color-scheme:dark){{{dark}}}"
        f"@media print{{{grey}rect:not(.bg){{stroke:#000;stroke-width:.6px}}.wait{{stroke-dasharray:2 2}}}}"
    )


def render_system(system: System, with_ids: bool = False) -> str:
    """One row. `with_ids`: each call's bar can be linked to, as seq-N."""
    parts = [
        f'<path class="{line.style}" d="M{line.x1:.5g} {line.y1:.5g}L{line.x2:.5g} {line.y2:.5g}"/>'
        for line in sorted(system.lines, key=lambda line: line.style)
    ]
    parts += [_rect(rect, with_ids) for rect in system.rects]
    parts += [_text(text, with_ids) for text in system.texts]
    return "".join(parts)


def _rect(rect: Rect, with_ids: bool) -> str:
    seq = f' data-seq="{rect.seq}"' if with_ids and rect.seq is not None else ""
    is_call = rect.seq is not None and rect.style != "ok" and not rect.style.startswith("life") and rect.first
    name = f' id="seq-{rect.seq}" tabindex="0"' if with_ids and is_call else ""
    box = f'x="{rect.x:.4g}" y="{rect.y:.5g}" width="{rect.width:.4g}" height="{rect.height:g}"'
    return f'<rect{name}{seq} class="{rect.style}" {box}/>'


def _text(text: Text, with_ids: bool) -> str:
    classes = text.style.replace("label", "") + (" s" if text.size < LABEL_SIZE else "")
    style = f' class="{classes.strip()}"' if classes else ""
    seq = f' data-seq="{text.seq}"' if with_ids and text.seq is not None else ""
    place = f'x="{text.x:.5g}" y="{text.baseline:.5g}"'
    return f"<text{seq}{style} {place}>{escape(text.text)}</text>"


def render(systems: list[System], title: str) -> str:
    """The whole picture as one file."""
    top, parts = 34.0, [f'<text class="name" x="12" y="22">{escape(title)}</text>']
    for system in systems:
        parts.append(f'<g transform="translate(0 {top:g})">{render_system(system)}</g>')
        top += system.height + 16
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {PAGE:g} {top:.0f}" role="img">'
        f"<title>{escape(title)}</title><style>{style()}</style>"
        f'<rect class="bg" width="100%" height="100%"/>{"".join(parts)}</svg>\n'
    )
