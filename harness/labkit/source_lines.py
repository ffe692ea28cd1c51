"""From an address in a trace to the line of the source that made the call."""

import functools
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

# Where the linker puts an executable that nobody moved.
PREFERRED_BASE = 0x1_4000_0000


class SourceLines:
    """The lines of one executable, asked of addr2line as they are needed."""

    def __init__(self, executable: Path, base: int) -> None:
        self._executable = executable
        self._slide = base - PREFERRED_BASE if base else 0
        self._known: dict[int, str] = {}

    def learn(self, addresses: Iterable[int]) -> None:
        """Asks for all of these at once."""
        wanted = [address for address in dict.fromkeys(addresses) if address and address not in self._known]
        tool = _addr2line()
        if not wanted or tool is None:
            return
        # A return address lies behind its call, often on the next line: one byte before it is still the call's.
        asked = "\n".join(f"{address - self._slide - 1:x}" for address in wanted)
        answer = subprocess.run(
            [tool, "-e", str(self._executable)], input=asked, capture_output=True, text=True, check=False
        )
        for address, line in zip(wanted, answer.stdout.splitlines(), strict=False):
            self._known[address] = _shown(line)

    def line(self, address: int) -> str:
        """As "event_wait.hpp:38"; empty if nothing is known."""
        self.learn([address])
        return self._known.get(address, "")


def _shown(line: str) -> str:
    place = line.partition(" (")[0].strip()
    if place.startswith("?"):
        return ""
    file, _, number = place.rpartition(":")
    return f"{Path(file.replace(chr(92), '/')).name}:{number}" if number.isdigit() and number != "0" else ""


@functools.cache
def _addr2line() -> str | None:
    return shutil.which("x86_64-w64-mingw32-addr2line")
