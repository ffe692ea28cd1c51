"""Stage 5 under many clients, and under clients that do it no good.

By default this takes seconds. For a longer run set LAB_SOAK in the environment: with LAB_SOAK=N the crowd comes N
times, each time drawn from another seed (0 to N-1), and the storm has N times as many clients.
"""

from typing import ClassVar

import pytest

from labkit import patience
from labkit.chaos import Crowd, Wronged, connected, most_open_files, soak_times, storm
from labkit.echo import EchoServer
from labkit.verdict import reject, reject_unless
from test_05_iocp_network import PROGRAM, expect_clean_end, expect_end


FOR_MANY = ("--idle-seconds", "0", "--max-connections", "10000")

STORM = 200
GREAT_STORM = 20_000 * soak_times()
WARM_UP = 1000
MOST_GROWTH = 2 << 20

MANY = 10_000
MOST_BYTES_EACH = 2560
FILES_FOR_MANY = MANY + 1000
TO_CLOSE_MANY = 5  # times the usual patience: Wine looks at every request there is to find one that is to be cancelled


class TestSoak:
    program: ClassVar[str] = PROGRAM

    @pytest.mark.parametrize("seed", range(soak_times()), ids=lambda seed: f"seed {seed}")
    def test_all_sorts_of_clients(self, seed: int) -> None:
        """Silent, slow, rude and vanishing clients cost nobody else a byte, and Ctrl-C in their midst ends it well."""
        asked = f"the crowd of seed {seed}"
        with EchoServer("--quiet", *FOR_MANY) as server, Crowd(server.port, seed) as crowd:
            try:
                crowd.live()
                crowd.be_in_the_middle()
            except Wronged as wronged:
                expected = "every client that reads gets its bytes, whatever others do"
                reject(server.stop(), expected=expected, came=str(wronged), errata=wronged.errata, asked=asked)
            result = server.stop()
            totals = expect_clean_end(result)
            left = crowd.who_saw_no_end()
            account = crowd.account()
        reject_unless(
            not left,
            result,
            expected="every client sees the end",
            came=f"not these: {left}",
            errata=("N28",),
            asked=asked,
        )
        reject_unless(
            account.allows(totals), result, expected=str(account), came=str(totals), errata=("N28",), asked=asked
        )

    def test_a_storm(self) -> None:
        """Two hundred clients that connect and leave at once are each accepted and counted; others are served."""
        announced = "클라이언트 접속 : "
        with EchoServer(*FOR_MANY) as server:
            clients = weather(server, range(STORM))
            if not server.program.wait_for(lambda text: text.count(announced) >= clients):
                came = f"{server.program.text().count(announced)}"
                reject(server.stop(), expected=f"{clients} lines {announced}", came=came, errata=("N20", "N21"))
            expect_clients(server, clients)

    @pytest.mark.plain
    def test_a_great_storm(self) -> None:
        """Thousands of clients that connect and leave at once leave nothing behind in the server's memory."""
        with EchoServer("--quiet", *FOR_MANY) as server:
            clients = weather(server, range(WARM_UP))
            before = server.program.resident_bytes()
            clients += weather(server, range(WARM_UP, GREAT_STORM))
            grown = server.program.resident_bytes() - before
            if grown > MOST_GROWTH:
                reject(
                    server.stop(),
                    expected=f"at most {MOST_GROWTH >> 20} MiB more than after {WARM_UP} clients",
                    came=f"{grown >> 10} KiB more after {GREAT_STORM}",
                    errata=("N31",),
                )
            expect_clients(server, clients)

    @pytest.mark.plain
    def test_ten_thousand_at_once(self) -> None:
        """Ten thousand clients are connected and each answered, at a small price each; one more is turned away."""
        most = most_open_files()
        if most is not None and most < FILES_FOR_MANY:
            pytest.skip(
                f"{MANY} connections and the rest need {FILES_FOR_MANY} open files, and this machine allows {most}"
            )
        with EchoServer("--quiet", *FOR_MANY) as server:
            empty = server.program.resident_bytes()
            try:
                with connected(server.port, MANY) as guests:
                    for number, guest in enumerate(guests):
                        guest.send(b"message of %d" % number)
                    for number, guest in enumerate(guests):
                        guest.expect(b"message of %d" % number)
                    each = (server.program.resident_bytes() - empty) / MANY
                    with server.connect() as one_too_many:
                        expect_end(server, one_too_many, when="above the cap", errata=("N31",))
                    server.program.interrupt()
                    result = server.program.wait(TO_CLOSE_MANY * patience.seconds())
                    left = sum(not guest.is_ended() for guest in guests)
            except Wronged as wronged:
                expected = f"{MANY} clients at once, each of which is answered"
                reject(server.stop(), expected=expected, came=str(wronged), errata=wronged.errata)
        totals = expect_clean_end(result)
        reject_unless(
            totals.clients == MANY + 1 and totals.messages >= MANY,
            result,
            expected=f"stopped : {MANY + 1} clients, at least {MANY} messages",
            came=str(totals),
            errata=("N28",),
        )
        came = f"{each:.0f} bytes"
        expected = f"at most {MOST_BYTES_EACH} bytes for each of {MANY} connections"
        reject_unless(each <= MOST_BYTES_EACH, result, expected=expected, came=came, errata=("N31",))
        reject_unless(not left, result, expected="every client sees the end", came=f"{left} do not", errata=("N28",))


def weather(server: EchoServer, numbers: range) -> int:
    """The server in a storm. Returns how many clients it has had."""
    try:
        return storm(server.port, numbers)
    except Wronged as wronged:
        expected = "between clients that connect and leave at once, others are served"
        reject(server.stop(), expected=expected, came=str(wronged), errata=wronged.errata)


def expect_clients(server: EchoServer, clients: int) -> None:
    """Ctrl-C, and all of them were counted."""
    result = server.stop()
    totals = expect_clean_end(result)
    came = str(totals)
    reject_unless(
        totals.clients == clients, result, expected=f"stopped : {clients} clients", came=came, errata=("N21",)
    )
