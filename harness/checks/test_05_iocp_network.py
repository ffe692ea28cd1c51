"""Stage 5: the echo server, asked by real clients over real sockets."""

import contextlib
import random
import threading
from collections import Counter
from collections.abc import Iterator
from typing import ClassVar

import pytest

from labkit.contract import foreign_lines
from labkit.echo import Client, EchoServer, Totals, first_difference, has_ipv6, totals_of
from labkit.program import Run
from labkit.verdict import expect_exit_code, reject, reject_unless
from workers import expect_workers

IPV4 = "127.0.0.1"
IPV6 = "::1"
PROGRAM = "iocp_network"

FAMILIES = [IPV4, pytest.param(IPV6, marks=pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1"))]

SIZES = (1, 2, 1000, 1023, 1024, 1025, 4096, 65_536, 1 << 20)  # around what servers take for a buffer's size


def some_bytes(size: int, seed: int = 5) -> bytes:
    return random.Random(seed).randbytes(size)


@contextlib.contextmanager
def stopped_cleanly(*arguments: str) -> Iterator[EchoServer]:
    """A server for the length of a check, and then a Ctrl-C, after which it must end well."""
    with EchoServer(*arguments) as server:
        yield server
        expect_clean_end(server.stop())


def expect_clean_end(result: Run) -> Totals:
    expect_exit_code(result, 0, ("N28", "N29"))
    totals = totals_of(result)
    stops = sum(line.startswith("stopped : ") for line in result.lines)
    if totals is None or stops != 1:
        came = f"{stops} such lines, or others behind it" if stops else "no such line"
        expected = f"stopped : N clients, N messages, N bytes{', once, and as the last line' if stops else ''}"
        reject(result, expected=expected, came=came, errata=("N28", "N29"))
    foreign = foreign_lines(result)
    if foreign:
        reject(
            result,
            expected="lines of the contract only, each whole, and escaped where they hold what a client has sent",
            came=f"{len(foreign)} others, the first: {foreign[0][:100]!r}",
            errata=("N32",),
        )
    return totals


def expect_echo(server: EchoServer, client: Client, data: bytes, errata: tuple[str, ...] = ("N9", "N10")) -> None:
    came = client.echo(data)
    if came != data:
        reject(
            server.stop(),
            expected=f"{len(data)} bytes back, as they were sent",
            came=first_difference(data, came),
            errata=errata,
            asked=f"a client that sends {len(data)} bytes",
        )


def expect_line(server: EchoServer, line: str, errata: tuple[str, ...]) -> None:
    if server.program.wait_for_line(line) is None:
        reject(server.stop(), expected=line, came="no such line", errata=errata)


def expect_listening(server: EchoServer, wanted: set[str]) -> None:
    """On these addresses and no other, all with one port."""
    server.program.wait_for(lambda _: len(server.addresses()) >= len(wanted))
    came = server.addresses()
    if {address for address, _ in came} != wanted or {port for _, port in came} != {server.port}:
        reject(server.stop(), expected=f"listening on {wanted}, one port", came=str(came), errata=("N35", "N25", "N36"))


def expect_end(server: EchoServer, client: Client, *, when: str, errata: tuple[str, ...]) -> None:
    if not client.is_ended():
        reject(server.stop(), expected=f"the connection is ended {when}", came="it stays open", errata=errata)


class TestEcho:
    program: ClassVar[str] = PROGRAM

    def test_it_listens_on_both_loopback_addresses(self) -> None:
        """It listens on 127.0.0.1 and ::1 and nowhere else, on one port, which it prints."""
        with stopped_cleanly() as server:
            expect_listening(server, {IPV4, IPV6} if has_ipv6() else {IPV4})

    @pytest.mark.parametrize("address", FAMILIES)
    def test_every_byte_comes_back(self, address: str) -> None:
        """Whatever is sent comes back, from one byte to a mebibyte, over both address families."""
        with stopped_cleanly("--quiet") as server:
            for size in SIZES:
                with server.connect(address) as client:
                    expect_echo(server, client, some_bytes(size))

    def test_many_messages_on_one_connection(self) -> None:
        """One connection is served again and again, not once."""
        with stopped_cleanly() as server, server.connect() as client:
            for number in range(200):
                expect_echo(server, client, f"message {number}\n".encode())

    def test_two_hundred_clients_at_once(self) -> None:
        """Two hundred clients are connected at the same time, and each gets its own bytes back."""
        with stopped_cleanly("--quiet") as server, contextlib.ExitStack() as open_clients:
            clients = [open_clients.enter_context(server.connect()) for _ in range(200)]
            for number, client in enumerate(clients):
                client.send(some_bytes(3000, seed=number))
            for number, client in enumerate(clients):
                came = client.receive(3000)
                if came != some_bytes(3000, seed=number):
                    reject(
                        server.stop(),
                        expected="3000 bytes back for each of 200 clients",
                        came=f"client {number}: {first_difference(some_bytes(3000, seed=number), came)}",
                        errata=("N20", "N37"),
                    )


class TestWhatItPrints:
    program: ClassVar[str] = PROGRAM

    @pytest.mark.parametrize(
        ("sent", "shown"),
        [
            (b"hello", "hello"),
            ("안녕하세요".encode(), "안녕하세요"),
            (b"a\0b", r"a\x00b"),
            (b"one\ntwo\n", r"one\ntwo\n"),
            (b"\xff\xfe", r"\xff\xfe"),
            (b"\x1b[31mred", r"\x1b[31mred"),
            ("한".encode()[:2], r"\xed\x95"),
        ],
        ids=["ascii", "korean", "nul", "line ends", "not utf-8", "terminal control", "half a character"],
    )
    def test_one_receive_is_one_line(self, sent: bytes, shown: str) -> None:
        r"""What was received is printed on one line: exactly its bytes, escaped where they are no text."""
        with stopped_cleanly() as server, server.connect() as client:
            expect_echo(server, client, sent)
            expect_line(server, f"수신된 data : {shown}", errata=("N11", "N32"))

    def test_all_that_was_received_is_printed(self) -> None:
        """However many receives 5000 bytes take: the lines together show all of them, in order."""
        sent = "".join(f"{number:05}" for number in range(1000))
        with EchoServer() as server, server.connect() as client:
            expect_echo(server, client, sent.encode())
            result = server.stop()
        expect_clean_end(result)
        start = "수신된 data : "
        shown = "".join(line.removeprefix(start) for line in result.lines if line.startswith(start))
        came = first_difference(sent.encode(), shown.encode())
        reject_unless(shown == sent, result, expected="5000 bytes printed", came=came, errata=("N11",))

    def test_a_character_in_two_halves(self) -> None:
        """A UTF-8 character that arrives in two receives comes back whole and is printed as the bytes it came in."""
        halves = "한".encode()[:2], "한".encode()[2:]
        with stopped_cleanly() as server, server.connect() as client:
            for half in halves:
                expect_echo(server, client, half)
            expect_line(server, r"수신된 data : \xed\x95", errata=("N11",))
            expect_line(server, r"수신된 data : \x9c", errata=("N11",))

    def test_lines_of_many_workers_stay_whole(self) -> None:
        """Three workers print what forty clients say at the same time: each line is whole, and none is missing."""
        said = [[f"client {client} message {number}" for client in range(40)] for number in range(10)]
        with EchoServer("--threads", "3") as server:
            with contextlib.ExitStack() as open_clients:
                clients = [open_clients.enter_context(server.connect()) for _ in range(40)]
                for messages in said:
                    for client, message in zip(clients, messages, strict=True):
                        client.send(message.encode())
                    for client, message in zip(clients, messages, strict=True):
                        came = client.receive(len(message))
                        if came != message.encode():
                            reject(server.stop(), expected=f"{message} back", came=f"{came!r}", errata=("N10",))
            result = server.stop()
        expect_clean_end(result)
        shown = Counter(line for line in result.lines if line.startswith("수신된 data : "))
        wrong = shown - Counter(f"수신된 data : {message}" for messages in said for message in messages)
        reject_unless(
            shown.total() == 400 and not wrong,
            result,
            expected="400 lines, each with one message",
            came=f"{shown.total()} lines; unexpected: {[*wrong][:2]}",
            errata=("N32",),
        )
        expect_workers(result, 3, too_few=("N33",), too_many=("N33",))

    @pytest.mark.parametrize("address", FAMILIES)
    def test_connections_are_named(self, address: str) -> None:
        """Each connection is announced, and its end too, by the client's own address and port."""
        with stopped_cleanly() as server, server.connect(address) as client:
            name = client.name
            expect_line(server, f"클라이언트 접속 : {name}", errata=("N32",))
            client.finish_sending()
            expect_line(server, f"closed : {name}", errata=("N14",))

    def test_quiet_leaves_out_the_rest(self) -> None:
        """With --quiet nothing is printed for connections and messages: only `listening` and `stopped`."""
        with EchoServer("--quiet") as server:
            with server.connect() as client:
                expect_echo(server, client, b"hello")
                client.finish_sending()
                expect_end(server, client, when="after its last byte", errata=("N14",))
            result = server.stop()
        expect_clean_end(result)
        more = [line for line in result.lines if not line.startswith(("listening : ", "stopped : "))]
        reject_unless(
            not more, result, expected="only listening and stopped, with --quiet", came=str(more[:2]), errata=("N32",)
        )

    def test_the_last_line_counts(self) -> None:
        """The last line counts the clients, the messages and exactly the bytes."""
        with EchoServer() as server:
            for number in range(3):
                with server.connect() as client:
                    for _ in range(number + 1):
                        expect_echo(server, client, b"12345")
                    client.finish_sending()
                    expect_end(server, client, when="after its last byte", errata=("N14",))
            result = server.stop()
        totals = expect_clean_end(result)
        reject_unless(
            totals == Totals(3, 6, 30),
            result,
            expected="stopped : 3 clients, 6 messages, 30 bytes",
            came=str(totals),
            errata=("N28",),
        )


class TestEnds:
    program: ClassVar[str] = PROGRAM

    @pytest.mark.parametrize("size", [0, 1, 1024, 300_000])
    def test_half_close(self, size: int) -> None:
        """A client that has finished sending still gets all its bytes, and then the end."""
        data = some_bytes(size)
        with stopped_cleanly("--quiet") as server, server.connect() as client:
            sender = threading.Thread(target=client.send_and_finish, args=(data,), daemon=True)
            sender.start()
            came = client.receive(size)
            sender.join()
            if came != data:
                reject(
                    server.stop(), expected=f"all {size} bytes back", came=first_difference(data, came), errata=("N15",)
                )
            expect_end(server, client, when="after the last byte", errata=("N15", "N8"))

    def test_an_orderly_end_is_no_data(self) -> None:
        """The end of a client's stream is the end of the connection: nothing is printed as its data."""
        with EchoServer() as server, server.connect() as client:
            name = client.name
            expect_echo(server, client, b"all of it")
            client.finish_sending()
            expect_line(server, f"closed : {name}", errata=("N14",))
            result = server.stop()
        expect_clean_end(result)
        came = [line for line in result.lines if line.startswith("수신된 data :")]
        wanted = ["수신된 data : all of it"]
        reject_unless(came == wanted, result, expected=str(wanted), came=str(came), errata=("N14",))

    def test_a_reset_ends_one_connection(self) -> None:
        """A client that resets its connection is closed; nothing is printed as its data, and others are served on."""
        with EchoServer() as server, server.connect() as other, server.connect() as victim:
            expect_echo(server, victim, b"before")
            name = victim.name
            victim.reset()
            expect_line(server, f"closed : {name}", errata=("N13",))
            expect_echo(server, other, b"still here", errata=("N13",))
            result = server.stop()
        expect_clean_end(result)
        came = [line for line in result.lines if line.startswith("수신된 data : ")]
        wanted = ["수신된 data : before", "수신된 data : still here"]
        errata = ("N11",) if len(came) == len(wanted) else ("N13", "N14")
        reject_unless(came == wanted, result, expected=str(wanted), came=str(came), errata=errata)

    def test_a_reset_in_the_middle_of_much_data(self) -> None:
        """Clients that send much, read nothing and reset do not disturb anybody."""
        with stopped_cleanly("--quiet") as server, server.connect() as other:
            for _ in range(10):
                victim = server.connect()
                victim.send_what_is_taken(bytes(16 << 20))
                victim.reset()
            expect_echo(server, other, some_bytes(10_000), errata=("N13",))

    def test_connect_and_leave(self) -> None:
        """A hundred clients connect and leave at once, half of them with a reset; the server serves on."""
        with stopped_cleanly() as server:
            for number in range(100):
                client = server.connect()
                if number % 2:
                    client.reset()
                else:
                    client.socket.close()
            with server.connect() as client:
                expect_echo(server, client, b"still here", errata=("N13", "N21"))
