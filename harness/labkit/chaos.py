"""Clients of stage 5 as they come: polite, slow, silent, rude, or very many of them.

What a crowd does is drawn from a seed, so that a run can be made again; only how its clients' doings fall between one
another is left to the machine. A client that does not get what the server owes it raises Wronged, which is the server's
fault; every other exception is the harness's.
"""

import contextlib
import os
import random
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from types import TracebackType

from labkit import patience
from labkit.echo import Client, Totals, first_difference
from labkit.errors import HarnessError

# How many clients of a crowd are at work at once, beside those that only sit there.
AT_ONCE = 8

# So much fits on the way for sure: it may be sent before anything is read.
FITS = 8 << 10

# So much does not: who sends it and does not read is sent to until nothing more goes.
MORE_THAN_FITS = 4 << 20

# A storm's clients do not wait to be accepted, but the queue of those who are to be has an end.
MOST_UNSERVED = 100

# Clients of one source address, which has some ten thousand ports, each taken for a minute after its connection.
CLIENTS_OF_ADDRESS = 1000


def soak_times() -> int:
    """How many times the usual crowd and storm are asked for, by LAB_SOAK."""
    word = os.environ.get("LAB_SOAK", "1")
    if not word.isascii() or not word.isdigit() or int(word) == 0:
        raise HarnessError(f"LAB_SOAK must be a number from 1, and is {word!r}")
    return int(word)


class Wronged(Exception):
    """The server owes this client something that it did not get. The words are a verdict's."""

    def __init__(self, came: str, errata: tuple[str, ...]) -> None:
        super().__init__(came)
        self.errata = errata


class Guest(Client):
    """A client that counts what it has done, and knows what it is owed."""

    def __init__(self, port: int, *, receive_buffer: int = 0, source: str = "127.0.0.1") -> None:
        self.gave_up = False
        self.offered = 0  # bytes that the server may have received
        self.exchanges = 0  # messages that were answered, one after the other
        self.came = 0  # bytes that came back
        self.socket = socket.socket()
        try:
            if receive_buffer:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket.settimeout(patience.seconds())
            self.socket.bind((source, 0))
            self._connect(port)
        except BaseException:
            self.socket.close()
            raise

    def _connect(self, port: int) -> None:
        try:
            self.socket.connect(("127.0.0.1", port))
        except (ConnectionError, TimeoutError) as error:
            raise Wronged(f"a client cannot connect: {error}", ("N20", "N35")) from error

    def send(self, data: bytes) -> None:
        self.offered += len(data)
        super().send(data)

    def send_what_is_taken(self, data: bytes) -> int:
        taken = super().send_what_is_taken(data)
        self.offered += taken
        return taken

    def expect_echo(self, data: bytes) -> None:
        if len(data) <= FITS:
            self.send(data)
            self.expect(data)
        else:
            self._check(data, self.echo(data))
        self.exchanges += 1

    def expect(self, data: bytes) -> None:
        """These bytes, which were sent before."""
        self._check(data, self.receive(len(data)))

    def _check(self, data: bytes, came: bytes) -> None:
        self.came += len(came)
        if came != data:
            waited = ", waited for in vain" if self.gave_up else ""
            raise Wronged(f"of {len(data)} bytes: {first_difference(data, came)}{waited}", ("N10", "N37"))

    def expect_end(self) -> None:
        if not self.is_ended():
            raise Wronged("it has finished sending, and its connection is not ended", ("N15", "N8"))

    def drain(self) -> bool:
        """Reads whatever still comes. True if then the end came."""
        while self._receive_some(1 << 16):
            pass
        return not self.gave_up


# ---------------------------------------------------------------- what clients do
#
# True: the client has read all it was owed, and seen the end of its connection.


def polite(guest: Guest, dice: random.Random) -> bool:
    """A few messages of any size, each answered before the next, and then goodbye."""
    for _ in range(dice.randint(1, 5)):
        guest.expect_echo(dice.randbytes(dice.choice((1, 100, 1024, 1025, 3000, 20_000))))
    guest.finish_sending()
    guest.expect_end()
    return True


def byte_by_byte(guest: Guest, dice: random.Random) -> bool:
    """One byte at a time."""
    for byte in dice.randbytes(dice.randint(1, 40)):
        guest.expect_echo(bytes([byte]))
    guest.finish_sending()
    guest.expect_end()
    return True


def half_closer(guest: Guest, dice: random.Random) -> bool:
    """All is sent and the sending finished, while the answer is still on its way."""
    data = dice.randbytes(dice.randint(0, 40_000))
    sender = threading.Thread(target=guest.send_and_finish, args=(data,), daemon=True)
    sender.start()
    guest.expect(data)
    sender.join(patience.seconds())
    guest.expect_end()
    return True


def resetting(guest: Guest, dice: random.Random) -> bool:
    """A part of an answer is read, and the connection reset."""
    size = dice.randint(1, FITS)
    guest.send(dice.randbytes(size))
    guest.receive(dice.randint(0, size))
    guest.reset()
    return False


def leaving(guest: Guest, dice: random.Random) -> bool:
    """Gone as soon as connected, with a reset or in order."""
    if dice.random() < 0.5:
        guest.reset()
    return False


def vanishing(guest: Guest, dice: random.Random) -> bool:
    """Much is sent and nothing read; gone while it is being sent to, with a reset or as if in order."""
    guest.send_what_is_taken(dice.randbytes(MORE_THAN_FITS))
    return leaving(guest, dice)


# How many of each are in a crowd.
CROWD: dict[Callable[[Guest, random.Random], bool], int] = {
    polite: 30,
    byte_by_byte: 10,
    half_closer: 20,
    resetting: 20,
    leaving: 20,
    vanishing: 2,
}

# And those who are there while the others come and go.
SILENT = 14  # never send
SLOW_READERS = 2  # send much, and read when nearly everybody has gone
LATE_VANISHERS = 2  # send much, read nothing and vanish when half of the others have gone
STUCK = 2  # send much and never read
TALKERS = 4  # speak when the Ctrl-C comes


@dataclass
class Account:
    """What the server's last line must say, and may say, of the clients it has had."""

    least: Totals  # by those who were served to their end
    most: Totals

    def allows(self, totals: Totals) -> bool:
        return all(
            low <= said <= high
            for low, said, high in (
                (self.least.clients, totals.clients, self.most.clients),
                (self.least.messages, totals.messages, self.most.messages),
                (self.least.bytes, totals.bytes, self.most.bytes),
            )
        )

    def __str__(self) -> str:
        low, high = self.least, self.most
        return (
            f"stopped : {low.clients} to {high.clients} clients, {low.messages} to {high.messages} messages, "
            f"{low.bytes} to {high.bytes} bytes"
        )


class Crowd:
    """All the clients of one run. Use it in a with statement: afterwards none is left."""

    def __init__(self, port: int, seed: int) -> None:
        self._port = port
        self._dice = random.Random(seed)
        self._guests: list[Guest] = []  # appended to by many threads, read when they are done
        self._served: list[Guest] = []
        self._silent: list[Guest] = []
        self._stuck: list[Guest] = []
        self._talkers: list[Future[bool]] = []
        self._pool = ThreadPoolExecutor(AT_ONCE)

    def __enter__(self) -> "Crowd":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._pool.shutdown(cancel_futures=True)
        for guest in self._guests:
            guest.socket.close()

    def live(self) -> None:
        """Every client of the crowd comes, and all but those go who are still to be there at the end. Beside them one
        goes on speaking, and is answered each time."""
        steady = self._guest()
        self._silent = [self._guest() for _ in range(SILENT)]
        self._stuck = [self._guest() for _ in range(STUCK)]
        late = [self._guest() for _ in range(LATE_VANISHERS)]
        for guest in (*self._stuck, *late):
            guest.send_what_is_taken(self._dice.randbytes(MORE_THAN_FITS))
        slow = [self._slow_reader() for _ in range(SLOW_READERS)]
        lives = [behave for behave, count in CROWD.items() for _ in range(count)]
        self._dice.shuffle(lives)
        futures = [self._pool.submit(self._live, behave, self._dice.getrandbits(32)) for behave in lives]
        for number, future in enumerate(as_completed(futures)):
            future.result()
            self._expect_answer(steady, number)
            if number == len(futures) // 2:
                for guest in late:
                    leaving(guest, self._dice)
                    guest.socket.close()
        for guest, owed in slow:
            self._read_late(guest, owed)
        steady.finish_sending()
        steady.expect_end()
        self._served.append(steady)

    def _slow_reader(self) -> tuple[Guest, bytes]:
        """One that has sent much. Second: what it is owed."""
        guest = self._guest(receive_buffer=4096)
        data = self._dice.randbytes(self._dice.randint(400_000, 800_000))
        owed = data[: guest.send_what_is_taken(data)]
        guest.finish_sending()
        return guest, owed

    def _read_late(self, guest: Guest, owed: bytes) -> None:
        try:
            guest.expect(owed)
            guest.expect_end()
        except Wronged as wronged:
            raise Wronged(f"a client that reads late: {wronged}", ("N15", "N38")) from wronged
        self._served.append(guest)

    def _guest(self, *, receive_buffer: int = 0) -> Guest:
        guest = Guest(self._port, receive_buffer=receive_buffer)
        self._guests.append(guest)
        return guest

    def _live(self, behave: Callable[[Guest, random.Random], bool], seed: int) -> None:
        with self._guest() as guest:
            try:
                if behave(guest, random.Random(seed)):
                    self._served.append(guest)
            except Wronged as wronged:
                raise Wronged(f"a client that is {behave.__name__}: {wronged}", wronged.errata) from wronged

    @staticmethod
    def _expect_answer(steady: Guest, number: int) -> None:
        try:
            steady.expect_echo(f"message {number}".encode())
        except Wronged as wronged:
            raise Wronged(f"a client that does no harm: {wronged}", ("N31", "N13")) from wronged

    def be_in_the_middle(self) -> None:
        """When this returns, some are speaking, and go on until the server ends."""
        talkers = [self._guest() for _ in range(TALKERS)]
        for number, talker in enumerate(talkers):
            self._expect_answer(talker, number)
        speaking = threading.Barrier(TALKERS + 1)
        self._talkers = [self._pool.submit(_talk, talker, speaking) for talker in talkers]
        speaking.wait()

    def who_saw_no_end(self) -> list[str]:
        """After the server's end: those to whom it does not show."""
        kinds = (("silent", self._silent), ("stuck", self._stuck))
        left = [kind for kind, guests in kinds for guest in guests if not guest.drain()]
        return left + ["talking" for talker in self._talkers if not talker.result()]

    def account(self) -> Account:
        offered = sum(guest.offered for guest in self._guests)
        served = Totals(
            len(self._served),
            sum(guest.exchanges for guest in self._served),
            sum(guest.came for guest in self._served),
        )
        return Account(served, Totals(len(self._guests), offered, offered))


def _talk(guest: Guest, speaking: threading.Barrier) -> bool:
    """Speaks until the server ends it. True if it did."""
    message = bytes(3000)
    came = guest.echo(message)
    speaking.wait()
    while came:
        came = guest.echo(message)
    return not guest.gave_up


# ---------------------------------------------------------------- very many


def source_address(number: int) -> str:
    """Where the client of this number comes from."""
    return f"127.0.{1 + number // CLIENTS_OF_ADDRESS % 250}.1"


def storm(port: int, numbers: range) -> int:
    """Clients that connect and leave at once, one for each number; each time after some of them one that is served, and
    one at the end. Returns how many clients that makes."""
    served = 0
    for number in numbers:
        Guest(port, source=source_address(number)).socket.close()
        if number % MOST_UNSERVED == 0 or number == numbers[-1]:
            with Guest(port, source=source_address(number)) as guest:
                guest.expect_echo(b"still here")
                guest.finish_sending()
                guest.expect_end()
            served += 1
    return len(numbers) + served


@contextlib.contextmanager
def connected(port: int, count: int) -> Iterator[list[Guest]]:
    """So many clients at once. Some have been answered: the others do not run too far ahead of the server."""
    with contextlib.ExitStack() as stack:
        guests = []
        for number in range(count):
            guests.append(stack.enter_context(Guest(port, source=source_address(number))))
            if number % MOST_UNSERVED == 0 or number == count - 1:
                guests[-1].expect_echo(b"are you there?")
        yield guests


def most_open_files() -> int | None:
    """What this machine lets a process have open. None: it sets no limit."""
    try:
        import resource
    except ImportError:
        return None
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return None if most == resource.RLIM_INFINITY else most
