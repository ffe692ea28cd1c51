"""Stage 5: what the server allows its clients: how many there are, how long one is idle, how much it takes of one."""

import threading
import time
from typing import ClassVar

from labkit.echo import EchoServer, Totals
from labkit.errors import HarnessError
from labkit.verdict import reject, reject_unless
from test_05_iocp_network import (
    PROGRAM,
    expect_clean_end,
    expect_echo,
    expect_end,
    expect_line,
    some_bytes,
    stopped_cleanly,
)


class TestLimits:
    program: ClassVar[str] = PROGRAM

    def test_an_idle_client_is_closed(self) -> None:
        """A client that is silent for longer than --idle-seconds is closed; one that keeps talking is not."""
        # On a machine so busy that even this client falls silent, a longer limit is tried; and the first is only tried:
        # a second may also be short for a server that is kept waiting.
        for limit_s in (1, 4, 16):
            with stopped_cleanly("--idle-seconds", str(limit_s)) as server:
                silence_s = self._talk_until_the_idle_one_is_closed(server)
                if silence_s is None:
                    return
                if limit_s > 1 and silence_s < limit_s / 2:
                    reject(
                        server.stop(),
                        expected="a client that keeps talking is served on",
                        came=f"it was closed, and had never been silent for longer than {silence_s:.2f} s",
                        errata=("N31",),
                        asked=f"--idle-seconds {limit_s}",
                    )
        raise HarnessError("this machine is too busy: a client that should keep talking was silent for 8 s")

    def _talk_until_the_idle_one_is_closed(self, server: EchoServer) -> float | None:
        """None: the busy client was served all the time; else for how long it had been silent at most."""
        silence_s, last = 0.0, time.monotonic()
        with server.connect() as busy, server.connect() as idle:
            ended: list[bool] = []
            watcher = threading.Thread(target=lambda: ended.append(idle.is_ended()), daemon=True)
            watcher.start()
            is_over = False
            while not is_over:
                is_over = not watcher.is_alive()  # and then once more
                now = time.monotonic()
                busy.send(b"busy")
                silence_s, last = max(silence_s, time.monotonic() - last), now
                if busy.receive(4) != b"busy":
                    return silence_s
                watcher.join(0.05)
            if ended != [True]:
                reject(server.stop(), expected="the idle client is closed", came="it stays connected", errata=("N31",))
        return None

    def test_no_idle_limit(self) -> None:
        """With --idle-seconds 0 a client may be silent for ever: one is when another server has closed its own."""
        with stopped_cleanly("--idle-seconds", "0") as server, server.connect() as silent:
            expect_echo(server, silent, b"here")
            with stopped_cleanly("--idle-seconds", "1") as other, other.connect() as idle:
                expect_end(other, idle, when="when it was idle for a second", errata=("N31",))
            expect_echo(server, silent, b"still here", errata=("N31",))

    def test_a_cap_on_connections(self) -> None:
        """A connection above --max-connections is closed at once; when one has left, there is room again."""
        with EchoServer("--max-connections", "2") as server:
            with server.connect() as first, server.connect() as second:
                expect_echo(server, first, b"1")
                expect_echo(server, second, b"2")
                with server.connect() as third:
                    expect_end(server, third, when="above the cap", errata=("N31",))
                expect_echo(server, first, b"still here", errata=("N31",))
                name = second.name
                second.finish_sending()
                expect_line(server, f"closed : {name}", errata=("N31",))
                expect_end(server, second, when="after its last byte", errata=("N31",))
                turned_away = self._turned_away_before_there_is_room(server)
            result = server.stop()
        totals = expect_clean_end(result)
        wanted = 4 + turned_away
        reject_unless(
            totals.clients == wanted,
            result,
            expected=f"stopped : {wanted} clients, the {1 + turned_away} above the cap counted too",
            came=str(totals),
            errata=("N31",),
        )

    def _turned_away_before_there_is_room(self, server: EchoServer) -> int:
        """How many clients are closed at once before one is served. When a server has counted one that has left,
        nothing outside tells: not its line, and not the end of its stream."""
        for turned_away in range(100):
            with server.connect() as client:
                if client.echo(b"4") == b"4":
                    return turned_away
            time.sleep(0.01)
        reject(server.stop(), expected="room for a client when another has left", came="none", errata=("N31",))

    def test_a_cap_of_nothing(self) -> None:
        """With --max-connections 0 every connection is above the cap; each is counted."""
        with EchoServer("--max-connections", "0") as server:
            for _ in range(2):
                with server.connect() as client:
                    expect_end(server, client, when="above the cap", errata=("N31",))
            result = server.stop()
        totals = expect_clean_end(result)
        wanted = Totals(2, 0, 0)
        reject_unless(totals == wanted, result, expected=str(wanted), came=str(totals), errata=("N31",))

    def test_a_client_that_does_not_read(self) -> None:
        """A client that sends without reading is held to what its buffers hold, and nobody else waits for it."""
        with stopped_cleanly("--quiet") as server, server.connect() as greedy, server.connect() as other:
            expect_echo(server, other, b"warm")
            before = server.program.resident_bytes()
            sent = greedy.send_what_is_taken(bytes(64 << 20))
            expect_echo(server, other, some_bytes(100_000), errata=("N31",))
            grown = server.program.resident_bytes() - before
            if sent >= 64 << 20 or grown > 8 << 20:
                reject(
                    server.stop(),
                    expected="the server takes no more from a client that does not read",
                    came=f"it took {sent >> 20} MiB and grew by {grown >> 20} MiB",
                    errata=("N31",),
                )
