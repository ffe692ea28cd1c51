"""From an address in a trace to the line of the source that made the call, and to the function that starts there."""

import functools
import re
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
        self._known: dict[int, str] = {}  # as addr2line says it

    def learn(self, addresses: Iterable[int]) -> None:
        """Asks for all of these at once."""
        wanted = [address for address in dict.fromkeys(addresses) if address and address not in self._known]
        # A return address lies behind its call, often on the next line: one byte before it is still the call's.
        answers = self._ask(address - 1 for address in wanted)
        for address, line in zip(wanted, answers, strict=False):
            self._known[address] = line

    def _ask(self, addresses: Iterable[int], *how: str) -> list[str]:
        asked = "\n".join(f"{address - self._slide:x}" for address in addresses)
        tool = _addr2line()
        if not asked or tool is None:
            return []
        command = [tool, *how, "-e", str(self._executable)]
        return subprocess.run(command, input=asked, capture_output=True, text=True, check=False).stdout.splitlines()

    def line(self, address: int, *callers: int) -> str:
        """As "event_wait.hpp:38"; empty if nothing is known. Of an address with those behind it: the first line that is
        not the C++ library's, or else the first of all."""
        chain = (address, *callers)
        self.learn(chain)
        known = [line for one in chain if place_of(line := self._known.get(one, ""))]
        own = [line for line in known if not LIBRARY.match(line)]
        return place_of(next(iter(own or known), ""))

    def function(self, address: int) -> str:
        """The function that starts there, as its source calls it; empty if nothing is known."""
        name = (self._ask([address], "-f", "-C") or ["?"])[0]
        return "" if name.startswith("?") else name


# Where Debian and others keep the headers of the C++ library and of Windows.
LIBRARY = re.compile(r"/usr/(lib|share|x86_64-w64-mingw32)/")


def place_of(line: str) -> str:
    """What addr2line answers, as "event_wait.hpp:38"; empty if it knows nothing."""
    place = re.sub(r" \(discriminator \d+\)$", "", line.strip())
    if not place or place.startswith("?"):
        return ""
    file, _, number = place.rpartition(":")
    return f"{Path(file.replace(chr(92), '/')).name}:{number}" if number.isdigit() and number != "0" else ""


@functools.cache
def _addr2line() -> str | None:
    return shutil.which("x86_64-w64-mingw32-addr2line")
