"""The server beside Asio's as a picture: one panel for each figure, bars from quartile to quartile."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from labkit.bench.echo import ALL, FIGURES, Level

HEIGHT = 200  # of the highest bar; the rest of the drawing's measures stand in its template


def svg(levels: list[Level]) -> str:
    """Self-contained, for light and dark."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    shown = [(name, figure) for name, figure in FIGURES.items() if name != "p50"]
    panels = []
    for name, figure in shown:
        groups = []
        for level in levels:
            spreads = [level.spread(contestant.name, figure) for contestant in ALL]
            most = max(spread.high for spread in spreads) or 1
            groups.append(
                {
                    "connections": level.connections,
                    # Each group on a scale of its own: between 1 client and 500 lie two powers of ten.
                    "bars": [
                        {
                            "height": HEIGHT * spread.median / most,
                            "low": HEIGHT * spread.low / most,
                            "high": HEIGHT * spread.high / most,
                            "label": _label(name, spread.median),
                        }
                        for spread in spreads
                    ],
                }
            )
        panels.append({"name": name, "groups": groups})
    return environment.get_template("plot.svg.jinja").render(
        panels=panels, names=[contestant.name for contestant in ALL], rounds=len(levels[0].rounds)
    )


def _label(figure: str, value: float) -> str:
    """No wider than a bar and the gap beside it."""
    if figure == "messages/s":
        return f"{value / 1000:.1f}k"
    if value >= 1_000_000:
        return f"{value / 1_000_000:.1f}s"
    return f"{value / 1000:.0f}ms" if value >= 10_000 else f"{value / 1000:.1f}ms"
