"""What the recorded calls are called by: their parameters, and in a word how they ended."""

from labkit.trace import Call
from labkit.trace_model import CLOSES, DEQUEUES, RESULTS, WINSOCK_SUBMITS, failed_to_make, is_submit, outcome_of

PARAMETERS = {
    "AcceptEx": "sListenSocket sAcceptSocket lpOutputBuffer dwReceiveDataLength dwLocalAddressLength "
    "dwRemoteAddressLength lpdwBytesReceived lpOverlapped",
    "CancelIo": "hFile",
    "CancelIoEx": "hFile lpOverlapped",
    "CloseHandle": "hObject",
    "ConnectNamedPipe": "hNamedPipe lpOverlapped",
    "CreateEvent": "lpEventAttributes bManualReset bInitialState lpName",
    "CreateFile": "lpFileName dwDesiredAccess dwShareMode lpSecurityAttributes dwCreationDisposition "
    "dwFlagsAndAttributes hTemplateFile",
    "CreateIoCompletionPort": "FileHandle ExistingCompletionPort CompletionKey NumberOfConcurrentThreads",
    "CreateThread": "lpThreadAttributes dwStackSize lpStartAddress lpParameter dwCreationFlags lpThreadId",
    "GetOverlappedResult": "hFile lpOverlapped lpNumberOfBytesTransferred bWait",
    "GetOverlappedResultEx": "hFile lpOverlapped lpNumberOfBytesTransferred dwMilliseconds bAlertable",
    "GetQueuedCompletionStatus": "CompletionPort lpNumberOfBytes lpCompletionKey lpOverlapped dwMilliseconds",
    "GetQueuedCompletionStatusEx": "CompletionPort lpCompletionPortEntries ulCount ulNumEntriesRemoved "
    "dwMilliseconds fAlertable",
    "PostQueuedCompletionStatus": "CompletionPort dwNumberOfBytesTransferred dwCompletionKey lpOverlapped",
    "ReadFile": "hFile lpBuffer nNumberOfBytesToRead lpNumberOfBytesRead lpOverlapped",
    "ReadFileEx": "hFile lpBuffer nNumberOfBytesToRead lpOverlapped lpCompletionRoutine",
    "ResetEvent": "hEvent",
    "SetEvent": "hEvent",
    "SetFileCompletionNotificationModes": "FileHandle Flags",
    "WSACleanup": "",
    "WSAGetOverlappedResult": "s lpOverlapped lpcbTransfer fWait lpdwFlags",
    "WSAIoctl": "s dwIoControlCode lpvInBuffer cbInBuffer lpvOutBuffer cbOutBuffer lpcbBytesReturned lpOverlapped "
    "lpCompletionRoutine",
    "WSARecv": "s lpBuffers dwBufferCount lpNumberOfBytesRecvd lpFlags lpOverlapped lpCompletionRoutine",
    "WSASend": "s lpBuffers dwBufferCount lpNumberOfBytesSent dwFlags lpOverlapped lpCompletionRoutine",
    "WSASocket": "af type protocol lpProtocolInfo g dwFlags",
    "WSAStartup": "wVersionRequested lpWSAData",
    "WaitForMultipleObjects": "nCount lpHandles bWaitAll dwMilliseconds",
    "WaitForSingleObject": "hHandle dwMilliseconds",
    "WriteFile": "hFile lpBuffer nNumberOfBytesToWrite lpNumberOfBytesWritten lpOverlapped",
    "_beginthreadex": "security stack_size start_address arglist initflag thrdaddr",
    "accept": "s addr addrlen",
    "bind": "s name namelen",
    "closesocket": "s",
    "listen": "s backlog",
    "pthread_create": "thread attr start_routine arg",
    "pthread_join": "thread value",
    "setsockopt": "s level optname optval optlen",
    "shutdown": "s how",
    "socket": "af type protocol",
}

# Which of them stand still while they wait for something.
WAITING = ("WaitFor", "GetQueued", "pthread_join", "pthread_cond", "SleepConditionVariable", "WSAWaitFor")

ZERO_IS_SUCCESS = ("bind", "closesocket", "listen", "setsockopt", "shutdown", "WSAIoctl", "WSAStartup", "WSACleanup")
ZERO_IS_FAILURE = (
    "CancelIo CancelIoEx CloseHandle PostQueuedCompletionStatus ReadFile ResetEvent SetEvent "
    "SetFileCompletionNotificationModes WriteFile WSACloseEvent"
).split()

WAIT_RESULTS = {0x80: "abandoned", 0xC0: "completion routine", 0x102: "timeout"}


def parameters(call: Call) -> list[tuple[str, str]]:
    """Every argument with its name, where it is known."""
    names = (PARAMETERS.get(call.name) or PARAMETERS.get(call.name.rstrip("AW")) or "").split()
    return [
        (names[i] if i < len(names) else f"argument {i + 1}", f"{value:x}") for i, value in enumerate(call.arguments)
    ]


def waits(call: Call) -> bool:
    return call.name.startswith(WAITING) or call.name in RESULTS


def has_failed(call: Call) -> bool:
    """Whether it returned what means failure. A wait that timed out has not failed."""
    if call.is_under_way:
        return False
    if is_submit(call):
        return outcome_of(call) == "refused"
    if call.name in RESULTS:
        return call.result32 == 0
    if call.name in DEQUEUES:
        return call.result32 == 0 and not (call.error == 258 and not call.came_fact("ov"))
    if call.name.startswith("WaitFor"):
        return call.result32 == 0xFFFF_FFFF
    if call.name.startswith(("Create", "_beginthreadex", "WSASocket", "socket", "accept", "WSACreateEvent")):
        return failed_to_make(call)
    if call.name in ZERO_IS_FAILURE:
        return call.result32 == 0
    return (call.name in ZERO_IS_SUCCESS or call.name.startswith("pthread_")) and call.result32 != 0


def outcome(call: Call, number_of: dict[int, int]) -> str:
    """How it ended, in a word or two, and whether a check made it end so. `number_of` gives each OVERLAPPED in flight
    its number in the picture."""
    own = _own_outcome(call, number_of)
    return f"{own}, by the lab" if call.injected and own else own


def _own_outcome(call: Call, number_of: dict[int, int]) -> str:
    if call.is_under_way:
        return "never returned"
    error = f"error {call.error}"
    if is_submit(call):
        went = outcome_of(call)
        return error if went == "refused" else went
    if call.name in RESULTS:
        return _bytes(call) if call.result32 else error
    if call.name == "GetQueuedCompletionStatus":
        if ov := call.came_fact("ov"):
            return f"{_number(ov, number_of)}, {_bytes(call) if call.result32 else error}"
        return "posted packet" if call.result32 else "timeout" if call.error == 258 else error
    if call.name == "GetQueuedCompletionStatusEx":
        packets = call.came_fact("count")
        if call.result32:
            return "1 packet" if packets == 1 else f"{packets} packets"
        return "timeout" if call.error == 258 else error
    if call.name.startswith("WaitFor"):
        if has_failed(call):
            return error
        return WAIT_RESULTS.get(call.result32, "signalled")
    if has_failed(call):
        return f"{call.result32}" if call.name.startswith("pthread_") else error
    if call.name.startswith(("Create", "_beginthreadex", "WSASocket", "socket", "accept")):
        return f"{call.result:x}"
    return f"{call.argument(0):x}" if call.name in CLOSES else ""


def _bytes(call: Call) -> str:
    return f"{call.came_fact('bytes')} bytes" if "bytes" in call.came else "done"


def _number(ov: int, number_of: dict[int, int]) -> str:
    return f"#{number_of[ov]}" if ov in number_of else f"{ov:x}"


def operation(call: Call) -> str:
    """What the kernel was asked to do."""
    suffix = f" {call.fact('len')} bytes" if call.name in ("ReadFile", "WriteFile", *WINSOCK_SUBMITS) else ""
    return call.name + suffix
