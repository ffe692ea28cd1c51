// Stage 5: what one connection is, and its requests. The server that moves them stands in iocp_network.hpp.
#pragma once

#include "sockets.hpp"

#include <array>
#include <string>

// A listener, and how many accepts wait on it. N20: several, so that nobody ever blocks in accept and a burst of
// clients finds more than one door open.
struct Acceptor {
    // Throws lab::Win32Error.
    explicit Acceptor(Listener from) : listener(std::move(from))
    {
        GUID id = WSAID_ACCEPTEX; // AcceptEx belongs to the provider of the socket, which is asked for it
        DWORD bytes = 0;
        if (WSAIoctl(listener.socket.get(), SIO_GET_EXTENSION_FUNCTION_POINTER, &id, sizeof id, &accept_ex,
                     sizeof accept_ex, &bytes, nullptr, nullptr) != 0)
            throw lab::Win32Error{"WSAIoctl", socket_error()};
    }

    static constexpr int most_waiting = 4;

    Listener listener;
    bool may_skip_packets = has_ifs_handle(listener.socket);
    LPFN_ACCEPTEX accept_ex = nullptr;
    std::atomic<int> waiting = 0;
};

// The context of everything a connection does. N37: it is found through its OVERLAPPED, not through a socket's number.
// N18: nothing in it is deleted by hand. N19: no event: the packet is the notification.
struct Connection : OVERLAPPED {
    enum class Doing { accepting, receiving, sending };

    Connection(Acceptor& from, Socket fresh) : OVERLAPPED{}, acceptor(from), socket(std::move(fresh)) {}

    Acceptor& acceptor;
    Socket socket; // N8: its own, from before the accept until it is closed
    Doing doing = Doing::accepting;
    bool skips_packets = false; // a request that is done at once leaves no packet
    std::string peer;
    DWORD received = 0;                     // bytes in the buffer
    DWORD sent = 0;                         // how many of them have gone back
    std::atomic<ULONGLONG> active_since{0}; // GetTickCount64; 0 until accepted. The idle watch reads it at any time
    Connection* next_ready = nullptr;       // in a ReadyList
    std::array<char, 1024> buffer;          // accepting: for AcceptEx's addresses
};

// From here on a request that is done at once leaves no packet: its outcome is known already, and the way through the
// port would only cost time. (SetFileCompletionNotificationModes)
inline DWORD skip_packets(Connection& connection) noexcept
{
    if (!connection.acceptor.may_skip_packets)
        return ERROR_SUCCESS; // then each has its packet
    if (!SetFileCompletionNotificationModes(connection.socket.handle(), FILE_SKIP_COMPLETION_PORT_ON_SUCCESS))
        return GetLastError();
    connection.skips_packets = true;
    return ERROR_SUCCESS;
}

// Asks for what the connection does next. WSA_IO_PENDING: accepted, a packet will come. 0: done already, and no packet
// will come. Else: refused, none will come.
inline int submit(Connection& connection) noexcept
{
    constexpr DWORD address_bytes = sizeof(SOCKADDR_STORAGE) + 16; // AcceptEx wants 16 more than the address itself
    static_cast<OVERLAPPED&>(connection) = OVERLAPPED{};           // N7: zeroed for every request
    const SOCKET socket = connection.socket.get();
    const bool skips = connection.skips_packets; // now: once a packet is queued, another worker may have it and free it
    DWORD flags = 0;
    DWORD at_once = 0;
    WSABUF part{};
    bool done = false;
    switch (connection.doing) {
    case Connection::Doing::accepting: // 0 bytes: else it would also wait for the client to say something
        done =
            connection.acceptor.accept_ex(connection.acceptor.listener.socket.get(), socket, connection.buffer.data(),
                                          0, address_bytes, address_bytes, &at_once, &connection);
        break;
    case Connection::Doing::receiving:
        part = {static_cast<ULONG>(connection.buffer.size()), connection.buffer.data()};
        // N17: null for the count: outcome_of asks for it, when it is known for sure
        done = WSARecv(socket, &part, 1, nullptr, &flags, &connection, nullptr) == 0;
        break;
    case Connection::Doing::sending: // N38: from where the last send stopped
        part = {connection.received - connection.sent, connection.buffer.data() + connection.sent};
        done = WSASend(socket, &part, 1, nullptr, 0, &connection, nullptr) == 0;
        break;
    }
    if (done)
        return skips ? 0 : WSA_IO_PENDING; // a packet comes all the same, unless it is skipped
    return WSAGetLastError();
}

struct Outcome {
    DWORD bytes;
    DWORD error;
};

// How the connection's request has ended, by a packet or at once. N12: a packet that was taken says that its request is
// over, not that it succeeded: each must be asked.
inline Outcome outcome_of(Connection& connection) noexcept
{
    const bool accepting = connection.doing == Connection::Doing::accepting;
    const Socket& socket = accepting ? connection.acceptor.listener.socket : connection.socket;
    DWORD bytes = 0;
    DWORD flags = 0;
    if (WSAGetOverlappedResult(socket.get(), &connection, &bytes, FALSE, &flags))
        return {bytes, ERROR_SUCCESS};
    return {0, socket_error()};
}

inline const char* call_of(Connection::Doing doing) noexcept
{
    switch (doing) {
    case Connection::Doing::accepting:
        return "AcceptEx";
    case Connection::Doing::receiving:
        return "WSARecv";
    case Connection::Doing::sending:
        return "WSASend";
    }
    return "";
}

// How long it has neither received nor sent anything; 0 before it is accepted. `now`: GetTickCount64.
inline ULONGLONG idle_ms(const Connection& connection, ULONGLONG now) noexcept
{
    const ULONGLONG since = connection.active_since;
    return since != 0 && now > since ? now - since : 0;
}

// Asks the kernel to give up what is in flight. That is a request only: the packet still comes, and whoever takes it
// closes the connection.
inline void cancel(Connection& connection)
{
    const bool accepting = connection.active_since == 0; // not `doing`, which a worker may be changing right now
    const HANDLE handle = accepting ? connection.acceptor.listener.socket.handle() : connection.socket.handle();
    for (int attempt = 0; attempt < 2 && !CancelIoEx(handle, &connection); ++attempt) {
        const DWORD error = GetLastError();
        if (error == ERROR_NOT_FOUND) // nothing in flight: a worker has it in hand
            return;
        lab::report("CancelIoEx", error);
    }
}

// Connections whose next message is here already: first come, first served, by any worker. The links are in the
// connections, so that nothing here can fail.
class ReadyList {
public:
    bool empty() const noexcept { return first_.load() == nullptr; }
    void push(Connection& connection) noexcept
    {
        connection.next_ready = nullptr;
        AcquireSRWLockExclusive(&lock_);
        if (empty())
            first_ = &connection;
        else
            last_->next_ready = &connection;
        last_ = &connection;
        ReleaseSRWLockExclusive(&lock_);
    }
    // Null if there is none.
    Connection* pop() noexcept
    {
        AcquireSRWLockExclusive(&lock_);
        Connection* const connection = first_;
        if (connection != nullptr)
            first_ = connection->next_ready;
        ReleaseSRWLockExclusive(&lock_);
        return connection;
    }

private:
    SRWLOCK lock_ = SRWLOCK_INIT;
    std::atomic<Connection*> first_ = nullptr; // changed behind the lock, looked at also without
    Connection* last_ = nullptr;               // good only if there is a first
};
