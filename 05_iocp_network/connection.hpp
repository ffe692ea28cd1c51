// Stage 5: what one packet and one connection are. The server that moves them stands in iocp_network.hpp.
#pragma once

#include "sockets.hpp"

#include <array>
#include <memory>

// ---------------------------------------------------------------- one packet

struct Packet {
    enum Kind { completed, failed, stop, nothing } kind; // (TRUE | FALSE) x (OVERLAPPED | none), as in stage 4
    DWORD bytes;
    OVERLAPPED* request;
    DWORD error;
};

inline Packet dequeue(HANDLE port) noexcept
{
    DWORD bytes = 0;
    ULONG_PTR key = 0; // N4: pointer-sized
    OVERLAPPED* request = nullptr;
    const BOOL taken = GetQueuedCompletionStatus(port, &bytes, &key, &request, INFINITE);
    const DWORD error = taken ? ERROR_SUCCESS : GetLastError();
    if (request != nullptr)
        return {taken ? Packet::completed : Packet::failed, bytes, request, error}; // N12: either way it is over
    return {taken ? Packet::stop : Packet::nothing, bytes, nullptr, error};
}

// ---------------------------------------------------------------- one connection

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

    Listener listener;
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
    std::string peer;
    DWORD received = 0;                     // bytes in the buffer
    DWORD sent = 0;                         // how many of them have gone back
    std::atomic<ULONGLONG> active_since{0}; // GetTickCount64; 0 until accepted. The idle watch reads it at any time
    std::array<char, 1024> buffer;          // accepting: for AcceptEx's addresses
};

// Asks for what the connection does next. 0 or WSA_IO_PENDING: accepted, a packet will come. Else: refused, none will.
inline int submit(Connection& connection) noexcept
{
    constexpr DWORD address_bytes = sizeof(SOCKADDR_STORAGE) + 16; // AcceptEx wants 16 more than the address itself
    static_cast<OVERLAPPED&>(connection) = OVERLAPPED{};           // N7: zeroed for every request
    const SOCKET socket = connection.socket.get();
    DWORD flags = 0;
    DWORD at_once = 0;
    WSABUF part{};
    bool done = false;
    switch (connection.doing) {
    case Connection::Doing::accepting: // 0: no bytes with the accept, or a silent client would keep the door
        done =
            connection.acceptor.accept_ex(connection.acceptor.listener.socket.get(), socket, connection.buffer.data(),
                                          0, address_bytes, address_bytes, &at_once, &connection);
        break;
    case Connection::Doing::receiving:
        part = {static_cast<ULONG>(connection.buffer.size()), connection.buffer.data()};
        // N17: null for the count: only the packet's is right
        done = WSARecv(socket, &part, 1, nullptr, &flags, &connection, nullptr) == 0;
        break;
    case Connection::Doing::sending: // N38: from where the last send stopped
        part = {connection.received - connection.sent, connection.buffer.data() + connection.sent};
        done = WSASend(socket, &part, 1, nullptr, 0, &connection, nullptr) == 0;
        break;
    }
    return done ? 0 : WSAGetLastError();
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

// Asks the kernel to give up what is in flight. That is a request only: the packet still comes, and whoever takes it
// closes the connection.
inline void cancel(Connection& connection)
{
    const bool accepting = connection.active_since == 0;
    const HANDLE handle = accepting ? connection.acceptor.listener.socket.handle() : connection.socket.handle();
    for (int attempt = 0; attempt < 2 && !CancelIoEx(handle, &connection); ++attempt) {
        const DWORD error = GetLastError();
        if (error == ERROR_NOT_FOUND) // nothing in flight: a worker has it in hand
            return;
        lab::report("CancelIoEx", error);
    }
}
