"""Rules about the server's sockets."""

from __future__ import annotations

from collections.abc import Iterator

from labkit.rules.case import Case, Sighting, rule, seen
from labkit.trace import Call

NO_HANDLE_INHERIT = 0x80
SOMAXCONN = 0x7FFF_FFFF
SOL_SOCKET = 0xFFFF
EXCLUSIVE = ~4 & 0xFFFF_FFFF  # SO_EXCLUSIVEADDRUSE is ~SO_REUSEADDR
UPDATE_ACCEPT_CONTEXT = 0x700B
NEED_ACCEPT_CONTEXT = ("getpeername", "getsockname", "shutdown")


def _dword(value: int) -> int:
    return value & 0xFFFF_FFFF


def _sets(call: Call, option: int) -> bool:
    return _dword(call.argument(1)) == SOL_SOCKET and _dword(call.argument(2)) == option


@rule("inheritable-socket")
def inheritable_socket(case: Case) -> Iterator[Sighting]:
    """Sockets are not inherited by the programs that a server starts."""
    for call in case.trace.named("WSASocketA", "WSASocketW", "socket", "accept", "WSAAccept"):
        if not call.name.startswith("WSASocket") or not call.argument(5) & NO_HANDLE_INHERIT:
            yield seen(f"{case.told(call)} made a socket without WSA_FLAG_NO_HANDLE_INHERIT.", call)
            return


@rule("backlog")
def backlog(case: Case) -> Iterator[Sighting]:
    """The backlog is left to the system: SOMAXCONN."""
    for call in case.trace.named("listen"):
        given = _dword(call.argument(1))
        if given != SOMAXCONN and given < 0x8000_0000:  # SOMAXCONN_HINT(n) is -n
            yield seen(f"{case.told(call)} asked for a backlog of {given}.", call)
            return


@rule("blocking-accept")
def blocking_accept(case: Case) -> Iterator[Sighting]:
    """No thread stands in accept: connecting comes as a packet too."""
    for call in case.trace.named("accept", "WSAAccept"):
        yield seen(f"{case.told(call)} waits for a client itself.", call)
        return


@rule("accept-context")
def accept_context(case: Case) -> Iterator[Sighting]:
    """A socket that AcceptEx has connected is told so before anything needs its peer."""
    on_accepted = case.trace.named("setsockopt", *NEED_ACCEPT_CONTEXT)
    for request in case.trace.requests:
        if request.submit.name != "AcceptEx" or request.failed_with != 0 or request.observed_at is None:
            continue
        accepted = request.submit.argument(1)
        life = [h for h in case.trace.handles_by_value.get(accepted, []) if h.lives_at(request.submit.begin)]
        if not life:
            continue
        calls = [
            c
            for c in on_accepted
            if c.begin > request.observed_at and c.argument(0) == accepted and life[0].lives_at(c.begin)
        ]
        told = [c.begin for c in calls if c.name == "setsockopt" and _sets(c, UPDATE_ACCEPT_CONTEXT)]
        needs = [c for c in calls if c.name in NEED_ACCEPT_CONTEXT]
        early = [c for c in needs if not told or c.begin < told[0]]
        if early:
            yield seen(f"{case.told(early[0])} came before SO_UPDATE_ACCEPT_CONTEXT was set.", early[0], request.submit)
            return


@rule("exclusive-address")
def exclusive_address(case: Case) -> Iterator[Sighting]:
    """No other process may take the port over."""
    for call in case.trace.named("bind"):
        options = [c for c in case.trace.named("setsockopt") if c.argument(0) == call.argument(0)]
        if not any(_sets(c, EXCLUSIVE) and c.begin < call.begin for c in options):
            yield seen(f"{case.told(call)} was made without SO_EXCLUSIVEADDRUSE.", call)
            return


@rule("key-is-socket")
def key_is_socket(case: Case) -> Iterator[Sighting]:
    """The completion key leads to the connection; the socket's number leads nowhere."""
    for call in case.trace.named("CreateIoCompletionPort"):
        if call.argument(1) and call.argument(0) == call.argument(2):
            yield seen(f"{case.told(call)} took the socket's number for the completion key.", call)
            return
