"""Whether one read of stage 4's reader costs more when there are many of them."""

from collections.abc import Callable
from dataclasses import dataclass

from labkit.bench.echo import Spread
from labkit.bench.reader import cached_file, timed
from labkit.stages import executable

BLOCK_BYTES = 4096
# Of counted blocks each has a request of its own. Differences between these take the program's start out.
COUNTS = (400, 20_200, 40_000)
FILE_MIB = COUNTS[-1] * BLOCK_BYTES // (1 << 20) + 1


@dataclass
class Growth:
    rounds: list[tuple[float, ...]]  # seconds for each of COUNTS

    @property
    def ratio(self) -> Spread:
        """The time of the later half of the reads over that of the earlier half, round by round."""
        return Spread.of([(all_s - half_s) / (half_s - few_s) for few_s, half_s, all_s in self.rounds])


def measure_growth(rounds: int, told: Callable[[int, int], None]) -> Growth:
    growth = Growth([])
    with cached_file(FILE_MIB) as file:
        for number in range(rounds):
            seconds = {}
            for count in COUNTS if number % 2 == 0 else reversed(COUNTS):
                words = ("--blocks", str(count), "--block", str(BLOCK_BYTES))
                seconds[count] = timed(executable("iocp_files"), *words, file=file).seconds
            growth.rounds.append(tuple(seconds[count] for count in COUNTS))
            told(number + 1, rounds)
    return growth
