// winsock: its headers in the order they need, and what every hook of a socket call has in common. Nothing here links
// the library: a program without sockets stays one.
#pragma once

#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#include <winsock2.h>
#include <ws2tcpip.h>

#include <mswsock.h>

#include "call.hpp"
#include "requests.hpp"

namespace probe {

inline HANDLE handle_of(SOCKET socket) noexcept
{
    return reinterpret_cast<HANDLE>(socket);
}

// Winsock's last error is Windows' own, so SetLastError serves for both.
struct OnSocket : Plain {
    static constexpr DWORD closed_error = WSAENOTSOCK;
    static int failure(DWORD) noexcept { return SOCKET_ERROR; }
    static HANDLE closed(SOCKET socket, auto...) noexcept { return first_closed(handle_of(socket)); }
};

} // namespace probe
