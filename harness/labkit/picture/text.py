"""How much room a text takes. Labels are set in a monospaced font, so this holds in every browser."""

import unicodedata

# Monospaced fonts are 0.55 em (Consolas) to 0.602 em (DejaVu, Menlo, Courier) wide.
CHARACTER = 0.61

LABEL_SIZE = 11.0
SMALL_SIZE = 10.0


def width(text: str, size: float = LABEL_SIZE) -> float:
    """An upper bound of the text's width in pixels."""
    return sum(_cells(c) for c in text) * CHARACTER * size


def _cells(character: str) -> int:
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def milliseconds(us: int) -> str:
    """A time as the picture writes it: as exact as it is short."""
    if us < 1000:
        return f"{us} µs"
    return f"{us / 1000:.1f} ms" if us < 1_000_000 else f"{us / 1_000_000:.2f} s"
