// What moves over sockets: AcceptEx, WSARecv, WSASend and their results.
#include "winsock.hpp"

#include "blocks.hpp"
#include "hooks.hpp"

#include <algorithm>
#include <cstring>

namespace probe {

namespace {

using RecvHook = Hook<"recv", decltype(&recv), OnSocket>;
using SendHook = Hook<"send", decltype(&send), OnSocket>;

// ---------------------------------------------------------------- WSARecv, WSASend

// The caller's array of buffers may be gone when the call returns; only what the buffers point at must stay.
struct Parts {
    static constexpr DWORD most = 16;
    WSABUF parts[most];
    DWORD count;
};

Parts copy_parts(const WSABUF* parts, DWORD count) noexcept
{
    Parts copy{};
    copy.count = std::min(count, Parts::most);
    for (DWORD i = 0; i < copy.count; ++i)
        copy.parts[i] = parts[i];
    return copy;
}

void shorten(Parts& parts, DWORD most) noexcept
{
    for (DWORD i = 0; i < parts.count; ++i) {
        parts.parts[i].len = std::min<ULONG>(parts.parts[i].len, most);
        most -= parts.parts[i].len;
    }
}

Submit submit_of(SOCKET socket, OVERLAPPED* request, const WSABUF* parts, DWORD count) noexcept
{
    std::uint64_t bytes = 0;
    for (DWORD i = 0; i < count; ++i)
        bytes += parts[i].len;
    return {handle_of(socket), request, count > 0 ? parts[0].buf : nullptr, bytes};
}

template <typename Flags> // a pointer for WSARecv, a value for WSASend
struct Moves : OnSocket {
    static void before(Facts& facts, SOCKET socket, WSABUF* parts, DWORD count, DWORD*, Flags, OVERLAPPED* request,
                       auto) noexcept
    {
        if (request == nullptr || parts == nullptr)
            return;
        tell_submit(facts, submit_of(socket, request, parts, count));
        for (DWORD i = 1; i < count && i < Parts::most; ++i) {
            facts.line().field().text("buf").decimal(i).text("_in=");
            tell_where(facts.line(), parts[i].buf);
        }
    }
    static HANDLE closed(SOCKET socket, auto...) noexcept { return first_closed(handle_of(socket)); }
    static int make(const Call& call, auto real, SOCKET socket, WSABUF* parts, DWORD count, DWORD* bytes, Flags flags,
                    OVERLAPPED* request, auto routine) noexcept
    {
        if (parts == nullptr || count > Parts::most)
            return real(socket, parts, count, bytes, flags, request, routine);
        Parts copy = copy_parts(parts, count);
        if (call.injection.action == Action::shorten)
            shorten(copy, call.injection.number);
        if (request == nullptr || routine != nullptr)
            return real(socket, copy.parts, copy.count, bytes, flags, request, routine);
        const Attempt now([=]() mutable noexcept -> DWORD {
            return real(socket, copy.parts, copy.count, bytes, flags, request, nullptr) == 0 ? ERROR_SUCCESS
                                                                                             : GetLastError();
        });
        const Attempt later([=, own_flags = value_of(flags)]() mutable noexcept -> DWORD {
            return real(socket, copy.parts, copy.count, nullptr, to_flags(own_flags), request, nullptr) == 0
                       ? ERROR_SUCCESS
                       : GetLastError();
        });
        const DWORD error = submit(call, submit_of(socket, request, copy.parts, copy.count), now, later);
        if (call.injection.action == Action::complete && error == ERROR_SUCCESS && bytes != nullptr)
            *bytes = static_cast<DWORD>(request->InternalHigh);
        return as_socket_result(error);
    }
    static void after(Facts& facts, const Call&, int, SOCKET, WSABUF*, DWORD, DWORD* bytes, auto...) noexcept
    {
        facts.behind("bytes", bytes);
    }

private:
    static DWORD value_of(Flags flags) noexcept
    {
        if constexpr (std::is_pointer_v<Flags>)
            return flags != nullptr ? *flags : 0;
        else
            return flags;
    }
    static Flags to_flags(DWORD& own) noexcept
    {
        if constexpr (std::is_pointer_v<Flags>)
            return &own;
        else
            return own;
    }
};

using ReceiveHook = Hook<"WSARecv", decltype(&WSARecv), Moves<DWORD*>>;
using TransmitHook = Hook<"WSASend", decltype(&WSASend), Moves<DWORD>>;

// ---------------------------------------------------------------- AcceptEx

struct Accepts : FailsWithFalse {
    static constexpr DWORD closed_error = WSAENOTSOCK;
    static Submit submit_of_accept(SOCKET listener, void* buffer, DWORD bytes, DWORD own, DWORD peer,
                                   OVERLAPPED* request) noexcept
    {
        return {handle_of(listener), request, buffer, std::uint64_t{bytes} + own + peer};
    }
    static void before(Facts& facts, SOCKET listener, SOCKET, void* buffer, DWORD bytes, DWORD own, DWORD peer, DWORD*,
                       OVERLAPPED* request) noexcept
    {
        if (request != nullptr)
            tell_submit(facts, submit_of_accept(listener, buffer, bytes, own, peer, request));
    }
    static HANDLE closed(SOCKET listener, SOCKET fresh, auto...) noexcept
    {
        return first_closed(handle_of(listener), handle_of(fresh));
    }
    static BOOL make(const Call& call, auto real, SOCKET listener, SOCKET fresh, void* buffer, DWORD bytes, DWORD own,
                     DWORD peer, DWORD* count, OVERLAPPED* request) noexcept
    {
        if (request == nullptr)
            return real(listener, fresh, buffer, bytes, own, peer, count, request);
        const Attempt now([=]() noexcept -> DWORD {
            return real(listener, fresh, buffer, bytes, own, peer, count, request) ? ERROR_SUCCESS : GetLastError();
        });
        const Attempt later([=]() noexcept -> DWORD {
            DWORD own_count = 0;
            return real(listener, fresh, buffer, bytes, own, peer, &own_count, request) ? ERROR_SUCCESS
                                                                                        : GetLastError();
        });
        return as_bool(submit(call, submit_of_accept(listener, buffer, bytes, own, peer, request), now, later));
    }
};

using AcceptExHook = Hook<"AcceptEx", LPFN_ACCEPTEX, Accepts>;

constexpr GUID accept_ex_id = WSAID_ACCEPTEX;

struct Controls : OnSocket {
    static int make(const Call&, auto real, SOCKET socket, DWORD code, void* in, DWORD in_bytes, void* out,
                    DWORD out_bytes, DWORD* bytes, OVERLAPPED* request, auto routine) noexcept
    {
        const int error = real(socket, code, in, in_bytes, out, out_bytes, bytes, request, routine);
        const bool asked_for_it = code == SIO_GET_EXTENSION_FUNCTION_POINTER && in != nullptr &&
                                  in_bytes == sizeof accept_ex_id && out_bytes >= sizeof(LPFN_ACCEPTEX) &&
                                  std::memcmp(in, &accept_ex_id, sizeof accept_ex_id) == 0;
        if (error == 0 && asked_for_it) {
            LPFN_ACCEPTEX function = nullptr;
            std::memcpy(&function, out, sizeof function);
            AcceptExHook::adopt(function);
            function = &AcceptExHook::replacement;
            std::memcpy(out, &function, sizeof function);
        }
        return error;
    }
};

using ControlHook = Hook<"WSAIoctl", decltype(&WSAIoctl), Controls>;

// ---------------------------------------------------------------- results

struct TellsSocket : FailsWithFalse {
    static constexpr bool is_made_even_if_it_fails = true;
    static constexpr DWORD closed_error = WSAENOTSOCK;
    static HANDLE closed(SOCKET socket, auto...) noexcept { return first_closed(handle_of(socket)); }
    static BOOL make(const Call& call, auto real, SOCKET socket, OVERLAPPED* request, DWORD* bytes, BOOL waits,
                     DWORD* flags) noexcept
    {
        start_for_request(request, !waits);
        SetLastError(call.error_before);
        const BOOL done = real(socket, request, bytes, waits, flags);
        if (done || GetLastError() != WSA_IO_INCOMPLETE)
            observe(request);
        return done;
    }
    static void after(Facts& facts, const Call&, BOOL, SOCKET, OVERLAPPED*, DWORD* bytes, auto...) noexcept
    {
        facts.behind("bytes", bytes);
    }
};

using SocketResultHook = Hook<"WSAGetOverlappedResult", decltype(&WSAGetOverlappedResult), TellsSocket>;

} // namespace

void install_transfers() noexcept
{
    RecvHook::install();
    SendHook::install();
    ReceiveHook::install();
    TransmitHook::install();
    AcceptExHook::install();
    ControlHook::install();
    SocketResultHook::install();
}

} // namespace probe
