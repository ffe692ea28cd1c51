// Stage 5: sockets before the port comes in: an owner, addresses, listening.
#pragma once

// N5: lab.hpp first: it keeps windows.h from bringing in the old winsock.h, which would collide with winsock2.h. The
// library is named in CMakeLists.txt, for every compiler.
#include "lab.hpp"

#include <winsock2.h>
#include <ws2tcpip.h>

#include <mswsock.h>

#include <vector>

// Winsock, for as long as this lives.
class Winsock {
public:
    Winsock()
    {
        WSADATA data;
        if (const int error = WSAStartup(MAKEWORD(2, 2), &data); error != 0) // N23: the error is what it returns
            throw lab::Win32Error{"WSAStartup", static_cast<DWORD>(error)};
    }
    ~Winsock() { WSACleanup(); }
    Winsock(const Winsock&) = delete;
    Winsock& operator=(const Winsock&) = delete;
};

inline DWORD socket_error() noexcept
{
    return static_cast<DWORD>(WSAGetLastError());
}

// N6: a SOCKET is a handle, 64 bits wide, and closed by closesocket; an int is neither.
class Socket {
public:
    Socket() noexcept = default;
    explicit Socket(SOCKET socket) noexcept : socket_(socket) {}
    Socket(Socket&& other) noexcept : socket_(std::exchange(other.socket_, INVALID_SOCKET)) {}
    Socket& operator=(Socket&& other) noexcept
    {
        std::swap(socket_, other.socket_);
        return *this;
    }
    ~Socket()
    {
        if (*this)
            closesocket(socket_);
    }

    SOCKET get() const noexcept { return socket_; }
    HANDLE handle() const noexcept { return reinterpret_cast<HANDLE>(socket_); }
    explicit operator bool() const noexcept { return socket_ != INVALID_SOCKET; }

private:
    SOCKET socket_ = INVALID_SOCKET;
};

// N30: a child process must not inherit it, or the port stays taken when this process has long gone.
inline Socket tcp_socket(int family) noexcept
{
    constexpr DWORD flags = WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT;
    return Socket{WSASocketW(family, SOCK_STREAM, IPPROTO_TCP, nullptr, 0, flags)};
}

// Whether the socket is a plain handle of the system's, as practically all are. Old layered providers (LSP) could put
// their own in between; a request on one may leave a packet even where none was wanted.
inline bool has_ifs_handle(const Socket& socket) noexcept
{
    WSAPROTOCOL_INFOW protocol{};
    int size = sizeof protocol;
    auto* const bytes = reinterpret_cast<char*>(&protocol);
    return getsockopt(socket.get(), SOL_SOCKET, SO_PROTOCOL_INFOW, bytes, &size) == 0 &&
           (protocol.dwServiceFlags1 & XP1_IFS_HANDLES) != 0;
}

// A socket address of either family, with its length.
struct Address {
    SOCKADDR_STORAGE storage{}; // N24: zeroed: what is not set is 0 and not what the stack held before
    int length = sizeof(SOCKADDR_STORAGE);

    sockaddr* get() noexcept { return reinterpret_cast<sockaddr*>(&storage); }
    int family() const noexcept { return storage.ss_family; }
    std::uint16_t port() const noexcept { return ntohs(reinterpret_cast<const SOCKADDR_IN*>(&storage)->sin_port); }
    // The port stands at the same place in both families.
    void set_port(std::uint16_t port) noexcept { reinterpret_cast<SOCKADDR_IN*>(&storage)->sin_port = htons(port); }

    // "127.0.0.1:4000", "[::1]:4000"
    std::string text()
    {
        wchar_t wide[64];
        DWORD size = static_cast<DWORD>(std::size(wide));
        if (WSAAddressToStringW(get(), static_cast<DWORD>(length), nullptr, wide, &size) != 0)
            return "address without text";
        return lab::to_utf8(wide);
    }
};

// An address written in numbers, of either family; nothing if the text is none.
inline std::optional<Address> parse_address(const std::wstring& text)
{
    Address address;
    auto& v4 = reinterpret_cast<SOCKADDR_IN&>(address.storage);
    auto& v6 = reinterpret_cast<SOCKADDR_IN6&>(address.storage);
    if (InetPtonW(AF_INET, text.c_str(), &v4.sin_addr) == 1) {
        v4.sin_family = AF_INET;
        address.length = sizeof(SOCKADDR_IN);
        return address;
    }
    if (InetPtonW(AF_INET6, text.c_str(), &v6.sin6_addr) == 1) {
        v6.sin6_family = AF_INET6;
        address.length = sizeof(SOCKADDR_IN6);
        return address;
    }
    return std::nullopt;
}

struct Listener {
    Socket socket;
    Address address; // as bound: with the real port
};

inline void set_option(const Socket& socket, int level, int name, DWORD value)
{
    if (setsockopt(socket.get(), level, name, reinterpret_cast<const char*>(&value), sizeof value) != 0)
        throw lab::Win32Error{"setsockopt", socket_error()};
}

// Throws lab::Win32Error with the call that failed (N23).
inline Listener listen_on(Address address)
{
    Listener listener{tcp_socket(address.family()), address};
    if (!listener.socket)
        throw lab::Win32Error{"WSASocket", socket_error()};
    set_option(listener.socket, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, 1); // N26: or another process could bind over us
    if (address.family() == AF_INET6)
        set_option(listener.socket, IPPROTO_IPV6, IPV6_V6ONLY, 1); // IPv4 has its own listener
    if (bind(listener.socket.get(), address.get(), address.length) != 0)
        throw lab::Win32Error{"bind", socket_error()};
    if (listen(listener.socket.get(), SOMAXCONN) != 0) // N27: the longest queue the system has, not 5
        throw lab::Win32Error{"listen", socket_error()};
    Address& bound = listener.address; // N36: port 0 has become a real one
    bound.length = sizeof bound.storage;
    if (getsockname(listener.socket.get(), bound.get(), &bound.length) != 0)
        throw lab::Win32Error{"getsockname", socket_error()};
    return listener;
}

inline bool family_is_missing(DWORD error) noexcept
{
    return error == WSAEAFNOSUPPORT || error == WSAEADDRNOTAVAIL;
}

// N35: one listener for each address, all on one port. Port 0 takes one that is free for all of them. A machine without
// one of the families listens on the other.
inline std::vector<Listener> listen_on_all(const std::vector<Address>& addresses, std::uint16_t port)
{
    for (int attempt = 1;; ++attempt) {
        std::vector<Listener> listeners;
        DWORD missing = ERROR_SUCCESS;
        try {
            for (Address address : addresses) {
                address.set_port(listeners.empty() ? port : listeners.front().address.port());
                try {
                    listeners.push_back(listen_on(address));
                } catch (const lab::Win32Error& error) {
                    if (addresses.size() == 1 || !family_is_missing(error.code))
                        throw;
                    missing = error.code;
                }
            }
            if (listeners.empty())
                throw lab::Win32Error{"bind", missing};
            return listeners;
        } catch (const lab::Win32Error& error) {
            // A port that was free in one family and taken (or kept from us) in the other: let the system choose again.
            const bool taken = error.code == WSAEADDRINUSE || error.code == WSAEACCES;
            if (port != 0 || !taken || attempt == 16)
                throw;
        }
    }
}
