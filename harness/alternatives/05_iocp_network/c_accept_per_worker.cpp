// Stage 5 in C style: threads by _beginthreadex, every connection in a slot of a pool that is allocated once, an
// AcceptEx for each worker and listener, and one way out by goto.
//
// Why it is correct: a slot or an accept belongs to the kernel from a successful submit until its packet is taken, and
// then to the worker who took it. Submits, cancels and closes are made under one lock, and none is submitted any more
// once `stopping` is set. `in_flight` counts the packets that are owed or in hand; main waits until it is zero, then
// posts each worker its end, joins them, and frees the pool last of all.
#define WIN32_LEAN_AND_MEAN
#include <winsock2.h>
#include <ws2tcpip.h>

#include <mswsock.h>
#include <process.h>

#include <cinttypes>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

enum { BUFFER_BYTES = 1024, ADDRESS_BYTES = sizeof(SOCKADDR_STORAGE) + 16 };
static const DWORD MOST_THREADS = MAXIMUM_WAIT_OBJECTS; // main waits for all of them at once
enum : ULONG_PTR { KEY_STOP, KEY_ACCEPT, KEY_CONNECTION };

struct Listener {
    SOCKET socket;
    SOCKADDR_STORAGE address;
    LPFN_ACCEPTEX accept_ex;
};

struct Accept {
    OVERLAPPED overlapped;
    Listener* listener;
    SOCKET socket;
    bool in_flight;
    char addresses[2 * ADDRESS_BYTES];
};

struct Slot {
    OVERLAPPED overlapped;
    Slot* next_free;
    SOCKET socket; // INVALID_SOCKET: the slot is free
    bool sending;
    DWORD length; // received
    DWORD sent;
    ULONGLONG since; // when its last request was made
    char peer[80];
    char buffer[BUFFER_BYTES];
};

static uint64_t port_number = 4000, thread_count, most_connections = 1000, idle_seconds = 60;
static bool quiet;

static HANDLE port, drained;
static Listener listeners[2] = {{INVALID_SOCKET, {}, nullptr}, {INVALID_SOCKET, {}, nullptr}};
static unsigned listener_count;
static Accept accepts[MOST_THREADS][2];
static Slot* pool;

static CRITICAL_SECTION guard; // for everything below
static Slot* free_slots;
static bool stopping;
static uint64_t in_flight, clients, messages, bytes_received;

static SRWLOCK console_lock = SRWLOCK_INIT; // the console's thread may come while main is on its way out
static HANDLE stop_requested;

static void print(DWORD where, const char* format, ...)
{
    char line[5 * BUFFER_BYTES];
    DWORD written;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line - 1, format, arguments);
    va_end(arguments);
    if (length < 0 || length >= static_cast<int>(sizeof line - 1))
        length = static_cast<int>(strlen(line));
    line[length] = '\n';
    WriteFile(GetStdHandle(where), line, static_cast<DWORD>(length) + 1, &written, nullptr);
}

static int complain(const char* call, DWORD code) // 1, the exit code
{
    wchar_t wide[200] = L"unknown";
    char text[600] = "";
    FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS | FORMAT_MESSAGE_MAX_WIDTH_MASK, nullptr,
                   code, 0, wide, 200, nullptr);
    WideCharToMultiByte(CP_UTF8, 0, wide, -1, text, sizeof text, nullptr, nullptr);
    print(STD_ERROR_HANDLE, "error : %s : %lu : %s", call, code, text);
    return 1;
}

static int complain_socket(const char* call)
{
    return complain(call, static_cast<DWORD>(WSAGetLastError()));
}

// How many of the `left` bytes are one UTF-8 character; 0 if it is none.
static int character(const unsigned char* at, int left)
{
    const unsigned first = at[0];
    const int length = first < 0x80 ? 1 : first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
    if (length > left)
        return 0;
    for (int i = 1; i < length; ++i)
        if (at[i] < 0x80 || at[i] > 0xBF)
            return 0;
    if ((first == 0xE0 && at[1] < 0xA0) || (first == 0xED && at[1] > 0x9F) || (first == 0xF0 && at[1] < 0x90) ||
        (first == 0xF4 && at[1] > 0x8F))
        return 0;
    return length;
}

static void print_data(const char* data, DWORD bytes)
{
    const unsigned char* at = reinterpret_cast<const unsigned char*>(data);
    char line[4 * BUFFER_BYTES + 1];
    char* end = line;
    for (int left = static_cast<int>(bytes), length; left > 0; at += length, left -= length) {
        length = character(at, left);
        if (*at == '\n' || *at == '\\') {
            *end++ = '\\';
            *end++ = *at == '\n' ? 'n' : '\\';
        } else if (length == 0 || *at < ' ' || *at == 0x7F) {
            end += snprintf(end, 5, "\\x%02x", static_cast<unsigned>(*at));
            length = 1;
        } else {
            memcpy(end, at, static_cast<size_t>(length));
            end += length;
        }
    }
    *end = '\0';
    print(STD_OUTPUT_HANDLE, "수신된 data : %s", line);
}

static void to_text(const SOCKADDR_STORAGE* address, char* text, size_t size)
{
    char host[INET6_ADDRSTRLEN] = "?";
    const bool v6 = address->ss_family == AF_INET6;
    const SOCKADDR_IN* in = reinterpret_cast<const SOCKADDR_IN*>(address);
    const SOCKADDR_IN6* in6 = reinterpret_cast<const SOCKADDR_IN6*>(address);
    inet_ntop(address->ss_family, v6 ? static_cast<const void*>(&in6->sin6_addr) : &in->sin_addr, host, sizeof host);
    snprintf(text, size, v6 ? "[%s]:%u" : "%s:%u", host, static_cast<unsigned>(ntohs(in->sin_port)));
}

static SOCKET new_socket(int family)
{
    return WSASocketW(family, SOCK_STREAM, IPPROTO_TCP, nullptr, 0, WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
}

// Without its packets nothing of a request may be freed, and no worker can be waited for.
static void give_up()
{
    ExitProcess(1);
}

// ---------------------------------------------------------------- accepting

// Under the lock. What is refused is asked for again by the next tick.
static void ask_for(Accept* accept)
{
    DWORD bytes = 0;
    if (stopping || accept->in_flight)
        return;
    accept->socket = new_socket(accept->listener->address.ss_family);
    if (accept->socket == INVALID_SOCKET) {
        complain_socket("WSASocket");
        return;
    }
    memset(&accept->overlapped, 0, sizeof accept->overlapped);
    accept->in_flight = true;
    ++in_flight;
    if (accept->listener->accept_ex(accept->listener->socket, accept->socket, accept->addresses, 0, ADDRESS_BYTES,
                                    ADDRESS_BYTES, &bytes, &accept->overlapped) ||
        WSAGetLastError() == WSA_IO_PENDING)
        return;
    complain_socket("AcceptEx");
    --in_flight;
    accept->in_flight = false;
    closesocket(accept->socket);
}

static void close_slot(Slot* slot)
{
    if (!quiet)
        print(STD_OUTPUT_HANDLE, "closed : %s", slot->peer);
    EnterCriticalSection(&guard); // the place is free before anybody can come who has seen the end
    closesocket(slot->socket);
    slot->socket = INVALID_SOCKET;
    slot->next_free = free_slots;
    free_slots = slot;
    LeaveCriticalSection(&guard);
}

static void submit(Slot* slot)
{
    WSABUF part = {BUFFER_BYTES, slot->buffer};
    DWORD flags = 0;
    int error = WSAESHUTDOWN;
    if (slot->sending) {
        part.buf += slot->sent;
        part.len = slot->length - slot->sent;
    }
    EnterCriticalSection(&guard);
    const bool too_late = stopping;
    if (!too_late) {
        memset(&slot->overlapped, 0, sizeof slot->overlapped);
        slot->since = GetTickCount64();
        ++in_flight;
        error = (slot->sending ? WSASend(slot->socket, &part, 1, nullptr, 0, &slot->overlapped, nullptr)
                               : WSARecv(slot->socket, &part, 1, nullptr, &flags, &slot->overlapped, nullptr)) == 0
                    ? 0
                    : WSAGetLastError();
        if (error != 0 && error != WSA_IO_PENDING)
            --in_flight; // never to zero: the caller's packet still counts
    }
    LeaveCriticalSection(&guard);
    if (error == 0 || error == WSA_IO_PENDING)
        return; // it may be gone already
    if (!too_late)
        complain(slot->sending ? "WSASend" : "WSARecv", static_cast<DWORD>(error));
    close_slot(slot);
}

static void welcome(SOCKET socket, Listener* listener)
{
    SOCKADDR_STORAGE address = {};
    int length = sizeof address;
    char peer[sizeof pool->peer];
    if (setsockopt(socket, SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT, reinterpret_cast<const char*>(&listener->socket),
                   sizeof listener->socket) != 0) {
        complain_socket("setsockopt");
        closesocket(socket);
        return;
    }
    if (getpeername(socket, reinterpret_cast<sockaddr*>(&address), &length) != 0) {
        complain_socket("getpeername");
        closesocket(socket);
        return;
    }
    if (!CreateIoCompletionPort(reinterpret_cast<HANDLE>(socket), port, KEY_CONNECTION, 0)) {
        complain("CreateIoCompletionPort", GetLastError());
        closesocket(socket);
        return;
    }
    to_text(&address, peer, sizeof peer);
    EnterCriticalSection(&guard);
    ++clients;
    Slot* const slot = free_slots;
    if (slot != nullptr) {
        free_slots = slot->next_free;
        slot->socket = socket;
        slot->since = GetTickCount64();
        slot->sending = false;
    }
    LeaveCriticalSection(&guard);
    if (!quiet)
        print(STD_OUTPUT_HANDLE, "클라이언트 접속 : %s", peer);
    if (slot == nullptr) { // above the cap
        if (!quiet)
            print(STD_OUTPUT_HANDLE, "closed : %s", peer);
        closesocket(socket);
        return;
    }
    memcpy(slot->peer, peer, sizeof peer);
    submit(slot);
}

// ---------------------------------------------------------------- packets

static void on_accept(Accept* accept, DWORD error)
{
    const SOCKET socket = accept->socket;
    EnterCriticalSection(&guard);
    accept->in_flight = false;
    ask_for(accept);
    LeaveCriticalSection(&guard);
    if (error == ERROR_SUCCESS)
        welcome(socket, accept->listener);
    else
        closesocket(socket);
}

static void on_connection(Slot* slot, DWORD bytes, DWORD error)
{
    if (error != ERROR_SUCCESS) {
        close_slot(slot);
    } else if (slot->sending) {
        slot->sent += bytes;
        slot->sending = slot->sent < slot->length;
        submit(slot);
    } else if (bytes == 0) { // it has finished sending, and has all it sent back
        shutdown(slot->socket, SD_SEND);
        close_slot(slot);
    } else {
        EnterCriticalSection(&guard);
        ++messages;
        bytes_received += bytes;
        LeaveCriticalSection(&guard);
        if (!quiet)
            print_data(slot->buffer, bytes);
        slot->length = bytes;
        slot->sent = 0;
        slot->sending = true;
        submit(slot);
    }
}

static unsigned __stdcall work(void* argument)
{
    Accept* const own = static_cast<Accept*>(argument);
    bool failed_before = false;
    EnterCriticalSection(&guard);
    for (unsigned i = 0; i < listener_count; ++i)
        ask_for(&own[i]);
    LeaveCriticalSection(&guard);
    for (;;) {
        DWORD bytes = 0;
        ULONG_PTR key = KEY_STOP;
        OVERLAPPED* overlapped = nullptr;
        const BOOL taken = GetQueuedCompletionStatus(port, &bytes, &key, &overlapped, INFINITE);
        const DWORD error = taken ? ERROR_SUCCESS : GetLastError();
        if (overlapped == nullptr) {
            if (taken)
                return 0; // KEY_STOP
            complain("GetQueuedCompletionStatus", error);
            if (failed_before)
                give_up();
            failed_before = true;
            continue;
        }
        failed_before = false;
        if (key == KEY_ACCEPT)
            on_accept(CONTAINING_RECORD(overlapped, Accept, overlapped), error);
        else
            on_connection(CONTAINING_RECORD(overlapped, Slot, overlapped), bytes, error);
        EnterCriticalSection(&guard);
        if (--in_flight == 0 && stopping)
            SetEvent(drained);
        LeaveCriticalSection(&guard);
    }
}

// ---------------------------------------------------------------- main's part

// Under the lock. Its packet comes in any case.
static void cancel(SOCKET socket, OVERLAPPED* overlapped)
{
    for (int attempt = 1; !CancelIoEx(reinterpret_cast<HANDLE>(socket), overlapped); ++attempt) {
        const DWORD error = GetLastError();
        if (error == ERROR_NOT_FOUND)
            return; // done, or in a worker's hand
        complain("CancelIoEx", error);
        if (attempt == 2)
            give_up();
    }
}

static void cancel_idle(ULONGLONG limit_ms) // under the lock
{
    const ULONGLONG now = GetTickCount64();
    for (uint64_t i = 0; i < most_connections; ++i)
        if (pool[i].socket != INVALID_SOCKET && now - pool[i].since >= limit_ms)
            cancel(pool[i].socket, &pool[i].overlapped);
}

static void on_tick()
{
    EnterCriticalSection(&guard);
    for (uint64_t i = 0; i < thread_count; ++i)
        for (unsigned l = 0; l < listener_count; ++l)
            ask_for(&accepts[i][l]);
    if (idle_seconds > 0)
        cancel_idle(idle_seconds * 1000);
    LeaveCriticalSection(&guard);
}

static void wait_for_all(DWORD count, const HANDLE* handles)
{
    for (int attempt = 1; WaitForMultipleObjects(count, handles, TRUE, INFINITE) == WAIT_FAILED; ++attempt) {
        complain("WaitForMultipleObjects", GetLastError());
        if (attempt == 2)
            give_up();
    }
}

static void stop(unsigned threads, HANDLE* handles)
{
    EnterCriticalSection(&guard);
    stopping = true;
    for (unsigned i = 0; i < threads; ++i)
        for (unsigned l = 0; l < listener_count; ++l)
            if (accepts[i][l].in_flight)
                cancel(listeners[l].socket, &accepts[i][l].overlapped);
    cancel_idle(0);
    if (in_flight == 0)
        SetEvent(drained);
    LeaveCriticalSection(&guard);
    wait_for_all(1, &drained);
    for (unsigned i = 0; i < threads; ++i)
        for (int attempt = 1; !PostQueuedCompletionStatus(port, 0, KEY_STOP, nullptr); ++attempt) {
            complain("PostQueuedCompletionStatus", GetLastError());
            if (attempt == 2)
                give_up();
        }
    if (threads > 0)
        wait_for_all(threads, handles);
}

// 0, or 1 after a report. A machine that lacks the family does without. `*taken`: not reported, the port was not free.
static int listen_on(int family, uint16_t number, bool* taken)
{
    Listener* const listener = &listeners[listener_count];
    SOCKADDR_STORAGE* const address = &listener->address;
    SOCKADDR_IN* const v4 = reinterpret_cast<SOCKADDR_IN*>(address);
    SOCKADDR_IN6* const v6 = reinterpret_cast<SOCKADDR_IN6*>(address);
    int length = family == AF_INET ? int{sizeof *v4} : int{sizeof *v6};
    const DWORD on = 1;
    const char* const value = reinterpret_cast<const char*>(&on);
    GUID id = WSAID_ACCEPTEX;
    DWORD bytes;

    memset(address, 0, sizeof *address);
    address->ss_family = static_cast<decltype(address->ss_family)>(family);
    v4->sin_port = htons(number); // at the same place in both
    if (family == AF_INET)
        v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    else
        v6->sin6_addr = in6addr_loopback;
    const SOCKET socket = listener->socket = new_socket(family);
    if (socket == INVALID_SOCKET)
        return WSAGetLastError() == WSAEAFNOSUPPORT ? 0 : complain_socket("WSASocket");
    if (setsockopt(socket, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, value, sizeof on) != 0 ||
        (family == AF_INET6 && setsockopt(socket, IPPROTO_IPV6, IPV6_V6ONLY, value, sizeof on) != 0))
        return complain_socket("setsockopt");
    if (bind(socket, reinterpret_cast<sockaddr*>(address), length) != 0) {
        const int error = WSAGetLastError();
        closesocket(socket);
        listener->socket = INVALID_SOCKET;
        *taken = family == AF_INET6 && port_number == 0 && (error == WSAEADDRINUSE || error == WSAEACCES);
        return error == WSAEADDRNOTAVAIL || *taken ? 0 : complain("bind", static_cast<DWORD>(error));
    }
    if (listen(socket, SOMAXCONN) != 0)
        return complain_socket("listen");
    length = sizeof *address;
    if (getsockname(socket, reinterpret_cast<sockaddr*>(address), &length) != 0)
        return complain_socket("getsockname");
    if (WSAIoctl(socket, SIO_GET_EXTENSION_FUNCTION_POINTER, &id, sizeof id, &listener->accept_ex,
                 sizeof listener->accept_ex, &bytes, nullptr, nullptr) != 0)
        return complain_socket("WSAIoctl");
    if (!CreateIoCompletionPort(reinterpret_cast<HANDLE>(socket), port, KEY_ACCEPT, 0))
        return complain("CreateIoCompletionPort", GetLastError());
    ++listener_count;
    return 0;
}

static void close_listeners()
{
    for (Listener& listener : listeners) {
        if (listener.socket != INVALID_SOCKET)
            closesocket(listener.socket);
        listener.socket = INVALID_SOCKET;
    }
    listener_count = 0;
}

static int listen_on_both()
{
    for (int attempt = 1;; ++attempt) {
        bool taken = false;
        if (listen_on(AF_INET, static_cast<uint16_t>(port_number), &taken) != 0)
            return 1;
        // Where IPv6 finds the port taken that IPv4 was given, the system chooses another.
        const SOCKADDR_IN* const first = reinterpret_cast<const SOCKADDR_IN*>(&listeners[0].address);
        if (listen_on(AF_INET6, ntohs(first->sin_port), &taken) != 0)
            return 1;
        if (!taken)
            return listener_count > 0 ? 0 : complain("bind", WSAEADDRNOTAVAIL);
        if (attempt == 16)
            return complain("bind", WSAEADDRINUSE);
        close_listeners();
    }
}

static BOOL WINAPI on_console_event(DWORD event)
{
    if (event != CTRL_C_EVENT && event != CTRL_BREAK_EVENT)
        return FALSE;
    AcquireSRWLockShared(&console_lock);
    if (stop_requested != nullptr)
        SetEvent(stop_requested);
    ReleaseSRWLockShared(&console_lock);
    return TRUE;
}

static bool number(const wchar_t* text, uint64_t least, uint64_t most, uint64_t* value)
{
    if (text == nullptr || *text == L'\0')
        return false;
    for (*value = 0; *text >= L'0' && *text <= L'9'; ++text) {
        *value = *value * 10 + static_cast<uint64_t>(*text - L'0');
        if (*value > most)
            return false;
    }
    return *text == L'\0' && *value >= least;
}

static bool parse(int argc, wchar_t** argv)
{
    for (int i = 1; i < argc; ++i) {
        if (wcscmp(argv[i], L"--quiet") == 0) {
            quiet = true;
            continue;
        }
        const wchar_t* const name = argv[i++];
        const wchar_t* const value = i < argc ? argv[i] : nullptr;
        if (wcscmp(name, L"--address") == 0 && value != nullptr && wcscmp(value, L"loopback") == 0)
            continue;
        if (!(wcscmp(name, L"--port") == 0 && number(value, 0, 65535, &port_number)) &&
            !(wcscmp(name, L"--threads") == 0 && number(value, 1, MOST_THREADS, &thread_count)) &&
            !(wcscmp(name, L"--max-connections") == 0 && number(value, 0, 100000, &most_connections)) &&
            !(wcscmp(name, L"--idle-seconds") == 0 && number(value, 0, 1000000, &idle_seconds)))
            return false;
    }
    return true;
}

int wmain(int argc, wchar_t** argv)
{
    int result = 1, error;
    unsigned threads = 0;
    bool winsock = false;
    HANDLE handles[MOST_THREADS], timer = nullptr;
    WSADATA data;
    SYSTEM_INFO system;
    LARGE_INTEGER due;
    DWORD waited;

    GetSystemInfo(&system);
    thread_count = system.dwNumberOfProcessors < MOST_THREADS ? system.dwNumberOfProcessors : MOST_THREADS;
    if (!parse(argc, argv)) {
        print(STD_ERROR_HANDLE, "usage : iocp_network [--port N] [--address loopback] [--threads N] "
                                "[--max-connections N] [--idle-seconds S] [--quiet]");
        return 2;
    }
    SetConsoleOutputCP(CP_UTF8);
    InitializeCriticalSection(&guard);

    stop_requested = CreateEventW(nullptr, TRUE, FALSE, nullptr);
    if (stop_requested != nullptr)
        drained = CreateEventW(nullptr, TRUE, FALSE, nullptr);
    if (stop_requested == nullptr || drained == nullptr) {
        complain("CreateEvent", GetLastError());
        goto cleanup;
    }
    SetConsoleCtrlHandler(on_console_event, TRUE); // for good: a second Ctrl-C changes nothing
    timer = CreateWaitableTimerW(nullptr, FALSE, nullptr);
    due.QuadPart = -10000000; // in a second, and then every second
    if (timer == nullptr || !SetWaitableTimer(timer, &due, 1000, nullptr, nullptr, FALSE)) {
        complain(timer == nullptr ? "CreateWaitableTimer" : "SetWaitableTimer", GetLastError());
        goto cleanup;
    }
    pool = static_cast<Slot*>(calloc(most_connections + 1, sizeof *pool)); // one more, as none would be no block
    if (pool == nullptr) {
        complain("calloc", ERROR_NOT_ENOUGH_MEMORY);
        goto cleanup;
    }
    for (uint64_t i = most_connections; i-- > 0;) {
        pool[i].socket = INVALID_SOCKET;
        pool[i].next_free = free_slots;
        free_slots = &pool[i];
    }
    error = WSAStartup(MAKEWORD(2, 2), &data);
    if (error != 0) {
        complain("WSAStartup", static_cast<DWORD>(error));
        goto cleanup;
    }
    winsock = true;
    port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, nullptr, 0, 0);
    if (port == nullptr) {
        complain("CreateIoCompletionPort", GetLastError());
        goto cleanup;
    }
    if (listen_on_both() != 0)
        goto cleanup;
    for (uint64_t i = 0; i < thread_count; ++i)
        for (unsigned l = 0; l < listener_count; ++l)
            accepts[i][l].listener = &listeners[l];
    for (; threads < thread_count; ++threads) {
        handles[threads] = reinterpret_cast<HANDLE>(_beginthreadex(nullptr, 0, work, accepts[threads], 0, nullptr));
        if (handles[threads] == nullptr) {
            complain("_beginthreadex", GetLastError());
            goto stop_workers;
        }
    }
    for (unsigned l = 0; l < listener_count; ++l) {
        char text[80];
        to_text(&listeners[l].address, text, sizeof text);
        print(STD_OUTPUT_HANDLE, "listening : %s", text);
    }
    do {
        const HANDLE either[] = {stop_requested, timer};
        waited = WaitForMultipleObjects(2, either, FALSE, INFINITE);
        if (waited == WAIT_OBJECT_0 + 1)
            on_tick();
    } while (waited == WAIT_OBJECT_0 + 1);
    if (waited == WAIT_OBJECT_0)
        result = 0;
    else
        complain("WaitForMultipleObjects", GetLastError());

stop_workers:
    stop(threads, handles);
    if (result == 0)
        print(STD_OUTPUT_HANDLE, "stopped : %" PRIu64 " clients, %" PRIu64 " messages, %" PRIu64 " bytes", clients,
              messages, bytes_received);

cleanup:
    while (threads > 0)
        CloseHandle(handles[--threads]);
    close_listeners();
    if (port != nullptr)
        CloseHandle(port);
    if (winsock)
        WSACleanup();
    free(pool);
    if (timer != nullptr)
        CloseHandle(timer);
    if (drained != nullptr)
        CloseHandle(drained);
    AcquireSRWLockExclusive(&console_lock);
    if (stop_requested != nullptr)
        CloseHandle(stop_requested);
    stop_requested = nullptr;
    ReleaseSRWLockExclusive(&console_lock);
    DeleteCriticalSection(&guard);
    return result;
}
