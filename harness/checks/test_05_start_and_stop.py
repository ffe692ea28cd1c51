"""Stage 5: how the server starts, and how it stops."""

import contextlib
import threading
from typing import ClassVar

import pytest

from labkit import patience
from labkit.echo import Client, EchoServer, Totals, has_ipv6
from labkit.program import Program, run
from labkit.stages import executable
from labkit.verdict import expect_call_error, expect_usage, reject_unless
from test_05_iocp_network import (
    IPV4,
    PROGRAM,
    expect_clean_end,
    expect_echo,
    expect_listening,
    stopped_cleanly,
)

# Windows answers either when another socket holds the port.
PORT_TAKEN = (10048, 10013)


class TestStarting:
    program: ClassVar[str] = PROGRAM

    def test_an_occupied_port(self) -> None:
        """A port that another server holds is a clear error, exit code 1."""
        with stopped_cleanly() as server:
            second = run(executable(PROGRAM), "--port", str(server.port))
            expect_call_error(second, "bind", ("N22", "N26"), PORT_TAKEN)

    def test_two_servers_side_by_side(self) -> None:
        """With --port 0 two servers run side by side, each on a port of its own."""
        with stopped_cleanly() as one, stopped_cleanly() as two, one.connect() as first, two.connect() as second:
            expect_echo(one, first, b"one", errata=("N36",))
            expect_echo(two, second, b"two", errata=("N36",))

    @pytest.mark.plain
    def test_all_addresses_only_when_asked(self) -> None:
        """--address any listens on every address of both families."""
        with stopped_cleanly("--address", "any") as server:
            expect_listening(server, {"0.0.0.0", "::"} if has_ipv6() else {"0.0.0.0"})
            with server.connect() as client:
                expect_echo(server, client, b"any")

    @pytest.mark.plain
    def test_one_address(self) -> None:
        """--address 127.0.0.1 listens there and nowhere else."""
        with stopped_cleanly("--address", IPV4) as server, server.connect() as client:
            expect_echo(server, client, b"one")
            expect_listening(server, {IPV4})

    @pytest.mark.parametrize(
        "words",
        [
            "--port",
            "--port 65536",
            "--port x",
            "--threads 0",
            "--idle-seconds -1",
            "--max-connections x",
            "--unknown 1",
            "--address nowhere",
            "4000",
        ],
    )
    def test_wrong_usage(self, words: str) -> None:
        """Options that are wrong give the usage on stderr, nothing on stdout, and exit code 2."""
        expect_usage(run(executable(PROGRAM), *words.split()))


class TestStopping:
    program: ClassVar[str] = PROGRAM

    @pytest.mark.parametrize("threads", ["1", "4"])
    def test_ctrl_c_while_nobody_is_there(self, threads: str) -> None:
        """Ctrl-C ends a server that has had no client."""
        with EchoServer("--threads", threads) as server:
            result = server.stop()
        totals = expect_clean_end(result)
        reject_unless(
            totals == Totals(0, 0, 0),
            result,
            expected="stopped : 0 clients, 0 messages, 0 bytes",
            came=str(totals),
            errata=("N28",),
        )

    @pytest.mark.traced
    def test_ctrl_break(self) -> None:
        """Ctrl-Break ends a server like Ctrl-C, with a client that is connected."""
        with EchoServer(inject="SetConsoleCtrlHandler 0 break") as server, server.connect() as client:
            expect_echo(server, client, b"here")
            result = server.stop()
        expect_clean_end(result)

    def test_ctrl_c_with_idle_clients(self) -> None:
        """Ctrl-C ends the connections of clients that are only there."""
        with EchoServer() as server, contextlib.ExitStack() as open_clients:
            clients = [open_clients.enter_context(server.connect()) for _ in range(20)]
            for client in clients:
                expect_echo(server, client, b"here")
            result = server.stop()
            expect_clean_end(result)
            alive = [client for client in clients if not client.is_ended()]
            reject_unless(
                not alive, result, expected="every client sees the end", came=f"{len(alive)} do not", errata=("N28",)
            )

    @pytest.mark.parametrize("round", range(5))
    def test_ctrl_c_under_load(self, round: int) -> None:
        """Ctrl-C in the middle of sending and receiving ends the server cleanly, and every client sees the end."""
        with EchoServer("--quiet") as server:
            ready = threading.Barrier(9, timeout=patience.seconds())
            saw_the_end = []

            def talk(client: Client) -> None:
                with client, contextlib.suppress(threading.BrokenBarrierError):
                    if client.echo(b"first") != b"first":
                        ready.abort()
                    ready.wait()
                    while client.echo(bytes(5000)):
                        pass
                    saw_the_end.append(not client.gave_up)

            talkers = [threading.Thread(target=talk, args=(server.connect(),), daemon=True) for _ in range(8)]
            for talker in talkers:
                talker.start()
            with contextlib.suppress(threading.BrokenBarrierError):
                ready.wait()
            result = server.stop()
            reject_unless(not ready.broken, result, expected="8 clients served", came="fewer", errata=("N20",))
            for talker in talkers:
                talker.join(patience.seconds())
        expect_clean_end(result)
        reject_unless(
            saw_the_end == [True] * 8,
            result,
            expected="all 8 clients see the end",
            came=f"{saw_the_end.count(True)} do",
            errata=("N28",),
        )

    def test_ctrl_c_at_once(self) -> None:
        """Ctrl-C as soon as the server is there, and again while it stops, still ends it well."""
        with Program(executable(PROGRAM), "--port", "0") as program:
            program.wait_for_line("listening : ")
            program.interrupt()
            program.interrupt()
            expect_clean_end(program.wait())
