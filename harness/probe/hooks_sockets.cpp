// The life of a socket: made, bound, listening, accepted, closed.
#include "winsock.hpp"

#include "hooks.hpp"

#include <cstring>

namespace probe {

namespace {

struct StartsUp : Plain {
    static int failure(DWORD code) noexcept { return static_cast<int>(code); }
};
struct CleansUp : Plain {
    static int failure(DWORD) noexcept { return SOCKET_ERROR; }
};

using StartupHook = Hook<"WSAStartup", decltype(&WSAStartup), StartsUp>;
using CleanupHook = Hook<"WSACleanup", decltype(&WSACleanup), CleansUp>;

struct MakesSocket : Plain {
    static SOCKET failure(DWORD) noexcept { return INVALID_SOCKET; }
    static void after(Facts&, const Call&, SOCKET made, auto...) noexcept { forget_file(handle_of(made)); }
};

struct AcceptsSocket : MakesSocket {
    static constexpr DWORD closed_error = WSAENOTSOCK;
    static HANDLE closed(SOCKET listener, auto...) noexcept { return first_closed(handle_of(listener)); }
};

using SocketHook = Hook<"socket", decltype(&socket), MakesSocket>;
using SocketAHook = Hook<"WSASocketA", decltype(&WSASocketA), MakesSocket>;
using SocketWHook = Hook<"WSASocketW", decltype(&WSASocketW), MakesSocket>;
using AcceptHook = Hook<"accept", decltype(&accept), AcceptsSocket>;
using AcceptWsaHook = Hook<"WSAAccept", decltype(&WSAAccept), AcceptsSocket>;

using BindHook = Hook<"bind", decltype(&bind), OnSocket>;
using ConnectHook = Hook<"connect", decltype(&connect), OnSocket>;
using ListenHook = Hook<"listen", decltype(&listen), OnSocket>;
using ShutdownHook = Hook<"shutdown", decltype(&shutdown), OnSocket>;
using SockNameHook = Hook<"getsockname", decltype(&getsockname), OnSocket>;
using PeerNameHook = Hook<"getpeername", decltype(&getpeername), OnSocket>;

struct SetsOption : OnSocket {
    static void before(Facts& facts, SOCKET, int, int, const char* value, int length) noexcept
    {
        if (value == nullptr || length < static_cast<int>(sizeof(DWORD)))
            return;
        DWORD number = 0;
        std::memcpy(&number, value, sizeof number);
        facts.value("value", number);
    }
};

using SetOptionHook = Hook<"setsockopt", decltype(&setsockopt), SetsOption>;

struct ClosesSocket : OnSocket {
    static int make(const Call&, auto real, SOCKET socket) noexcept
    {
        cancel_put_off(handle_of(socket), nullptr, false);
        const int error = real(socket);
        if (error == 0) {
            forget_file(handle_of(socket));
            keep_closed(handle_of(socket));
        }
        return error;
    }
};

using CloseSocketHook = Hook<"closesocket", decltype(&closesocket), ClosesSocket>;

struct ClosesEvent : FailsWithFalse {
    static HANDLE closed(HANDLE event) noexcept { return first_closed(event); }
    static BOOL make(const Call&, auto real, HANDLE event) noexcept
    {
        const BOOL done = real(event);
        if (done)
            keep_closed(event);
        return done;
    }
};

using CreateEventHook = Hook<"WSACreateEvent", decltype(&WSACreateEvent), FailsWithNull>;
using CloseEventHook = Hook<"WSACloseEvent", decltype(&WSACloseEvent), ClosesEvent>;

} // namespace

void install_sockets() noexcept
{
    StartupHook::install();
    CleanupHook::install();
    SocketHook::install();
    SocketAHook::install();
    SocketWHook::install();
    AcceptHook::install();
    AcceptWsaHook::install();
    BindHook::install();
    ConnectHook::install();
    ListenHook::install();
    ShutdownHook::install();
    SockNameHook::install();
    PeerNameHook::install();
    SetOptionHook::install();
    CloseSocketHook::install();
    CreateEventHook::install();
    CloseEventHook::install();
}

} // namespace probe
