"""What the lab says while it works: on stderr, in a few words, with progress for what takes over a second."""

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

console = Console(stderr=True, highlight=False)


def say(text: str) -> None:
    console.print(text, markup=False)


@contextlib.contextmanager
def activity(what: str) -> Iterator[None]:
    """Something of unknown length."""
    if not console.is_terminal:
        say(f"{what} ...")
        yield
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        progress.add_task(what, total=None)
        yield


@contextlib.contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Something in steps; the caller reports (done, of all). Nothing is shown for what has no steps to do."""
    if not console.is_terminal:
        announced = False

        def announce(_done: int, _of: int) -> None:
            nonlocal announced
            if not announced:
                say(f"{what} ...")
            announced = True

        yield announce
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)
