"""Stage 5 from outside: a running server, and clients that speak to it."""

import contextlib
import re
import socket
import struct
import threading
from dataclasses import dataclass
from types import TracebackType

from labkit import patience
from labkit.program import Program, Run
from labkit.stages import executable
from labkit.verdict import reject

LISTENING = re.compile(r"^listening : (?:(?P<v4>[\d.]+)|\[(?P<v6>[0-9a-f:]+)\]):(?P<port>\d+)$", re.MULTILINE)
STOPPED = re.compile(r"^stopped : (?P<clients>\d+) clients, (?P<messages>\d+) messages, (?P<bytes>\d+) bytes$")


def is_listening(text: str) -> bool:
    return LISTENING.search(text) is not None


@dataclass(frozen=True)
class Totals:
    clients: int
    messages: int
    bytes: int

    def __str__(self) -> str:
        """As the server prints it."""
        return f"stopped : {self.clients} clients, {self.messages} messages, {self.bytes} bytes"


class EchoServer:
    """A stage-5 program, listening on a port of the system's choice. Use it in a with statement."""

    def __init__(self, *arguments: str, port: int = 0, inject: str = "") -> None:
        words = ("--port", str(port), *arguments)
        program = Program(executable("iocp_network"), *words, inject=inject)
        program.wait_for(is_listening)
        self._adopt(program)

    @classmethod
    def of(cls, program: Program) -> "EchoServer":
        """A program that listens already."""
        server = cls.__new__(cls)
        server._adopt(program)
        return server

    def _adopt(self, program: Program) -> None:
        self.program = program
        lines = list(LISTENING.finditer(self.program.text()))
        if not lines:
            reject(self.program.wait(1), expected="listening : 127.0.0.1:PORT", came="no such line", errata=("N36",))
        self.port = int(lines[0]["port"])

    def __enter__(self) -> "EchoServer":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.program.end()

    def addresses(self) -> list[tuple[str, int]]:
        """What it says it listens on, as (address, port)."""
        return [(m["v4"] or m["v6"], int(m["port"])) for m in LISTENING.finditer(self.program.text())]

    def connect(self, address: str = "127.0.0.1") -> "Client":
        try:
            return Client(address, self.port)
        except (ConnectionError, TimeoutError) as error:  # any other is this machine's: no descriptors left, say
            reject(self.stop(), expected=f"a connection to {address}", came=str(error), errata=("N20", "N35"))

    def try_to_connect(self) -> "Client | None":
        """For a server that may not be able to: None where connect would reject it."""
        try:
            return Client("127.0.0.1", self.port)
        except OSError:
            return None

    def stop(self) -> Run:
        """Ctrl-C, and what the server left."""
        self.program.interrupt()
        return self.program.wait()


def totals_of(run: Run) -> Totals | None:
    """The server's last line; None if it is another one."""
    found = STOPPED.fullmatch(run.lines[-1]) if run.lines else None
    return Totals(int(found["clients"]), int(found["messages"]), int(found["bytes"])) if found else None


class Client:
    """One TCP connection. Whatever goes wrong on it is the server's doing: no method raises for it, what came tells."""

    def __init__(self, address: str, port: int) -> None:
        self.gave_up = False  # something did not come, and was waited for in vain
        self.socket = socket.create_connection((address, port), timeout=patience.seconds())
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.socket.close()

    @property
    def name(self) -> str:
        """How the server calls this client."""
        address, port = self.socket.getsockname()[:2]
        return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"

    def send(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # whoever receives will see that the connection has ended
            self.socket.sendall(data)

    def send_what_is_taken(self, data: bytes) -> int:
        """Sends without waiting for room, and reads nothing. How many bytes there was room for."""
        taken = 0
        self.socket.setblocking(False)
        with contextlib.suppress(OSError):
            while taken < len(data):
                taken += self.socket.send(data[taken : taken + (1 << 16)])
        self.socket.settimeout(patience.seconds())
        return taken

    def receive(self, size: int) -> bytes:
        """So many bytes, or fewer if the server ends the connection first, or sends no more."""
        data = bytearray()
        while len(data) < size:
            chunk = self._receive_some(size - len(data))
            if not chunk:
                break
            data += chunk
        return bytes(data)

    def _receive_some(self, most: int) -> bytes:
        try:
            return self.socket.recv(min(1 << 16, most))
        except TimeoutError:
            patience.ran_out()
            self.gave_up = True
        except ConnectionError:
            pass  # a reset is an end too
        return b""

    def echo(self, data: bytes) -> bytes:
        """Sends while it receives, as a peer must that sends more than fits on the way."""
        sender = threading.Thread(target=self.send, args=(data,), daemon=True)
        sender.start()
        came = self.receive(len(data))
        sender.join(patience.seconds())
        return came

    def send_and_finish(self, data: bytes) -> None:
        self.send(data)
        self.finish_sending()

    def finish_sending(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def is_ended(self) -> bool:
        """Waits for the server to end the connection: True; False if it sends something, or nothing at all."""
        return self._receive_some(1) == b"" and not self.gave_up

    def reset(self) -> None:
        """Ends the connection with RST instead of FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def has_ipv6() -> bool:
    """Whether this machine has ::1."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def first_difference(wanted: bytes, came: bytes) -> str:
    """Where an echo begins to differ from what was sent."""
    for at, (one, other) in enumerate(zip(wanted, came, strict=False)):
        if one != other:
            return f"{len(came)} bytes; byte {at} is {other:02x} instead of {one:02x}"
    return f"{len(came)} bytes, and then no more"
