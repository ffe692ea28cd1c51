// How a request ended, and asking the kernel to give it up.
#include "call.hpp"
#include "hooks.hpp"
#include "requests.hpp"

namespace probe {

namespace {

// TRUE, or an error other than "not yet": the end of the request is known from here on.
struct Tells : FailsWithFalse {
    static constexpr bool is_made_even_if_it_fails = true;
    static constexpr bool is_not_yet(DWORD error) noexcept
    {
        return error == ERROR_IO_INCOMPLETE || error == WAIT_TIMEOUT || error == WAIT_IO_COMPLETION;
    }
    static HANDLE closed(HANDLE file, auto...) noexcept { return first_closed(file); }
    static BOOL ask(const Call& call, OVERLAPPED* request, bool only_looks, auto really) noexcept
    {
        start_for_request(request, only_looks);
        SetLastError(call.error_before);
        const BOOL done = really();
        if (done || !is_not_yet(GetLastError()))
            observe(request);
        return done;
    }
    static BOOL make(const Call& call, auto real, HANDLE file, OVERLAPPED* request, DWORD* bytes, BOOL waits) noexcept
    {
        return ask(call, request, !waits, [&] { return real(file, request, bytes, waits); });
    }
    static void after(Facts& facts, const Call&, BOOL, HANDLE, OVERLAPPED*, DWORD* bytes, auto...) noexcept
    {
        facts.behind("bytes", bytes);
    }
};

struct TellsInTime : Tells {
    static BOOL make(const Call& call, auto real, HANDLE file, OVERLAPPED* request, DWORD* bytes, DWORD ms,
                     BOOL alertable) noexcept
    {
        return ask(call, request, ms == 0, [&] { return real(file, request, bytes, ms, alertable); });
    }
};

using GetOverlappedResultHook = Hook<"GetOverlappedResult", decltype(&GetOverlappedResult), Tells>;
using GetOverlappedResultExHook =
    Hook<"GetOverlappedResultEx", BOOL(WINAPI*)(HANDLE, OVERLAPPED*, DWORD*, DWORD, BOOL), TellsInTime>;

struct Cancels : FailsWithFalse {
    static HANDLE closed(HANDLE file, auto...) noexcept { return first_closed(file); }
    static BOOL make(const Call& call, auto real, HANDLE file, OVERLAPPED* request) noexcept
    {
        const int put_off = cancel_put_off(file, request, false);
        SetLastError(call.error_before);
        if (put_off > 0 && request != nullptr)
            return TRUE; // the kernel never had it
        const BOOL done = real(file, request);
        return put_off > 0 ? TRUE : done;
    }
};

struct CancelsOwn : FailsWithFalse {
    static HANDLE closed(HANDLE file) noexcept { return first_closed(file); }
    static BOOL make(const Call& call, auto real, HANDLE file) noexcept
    {
        const int put_off = cancel_put_off(file, nullptr, true);
        SetLastError(call.error_before);
        const BOOL done = real(file);
        return put_off > 0 ? TRUE : done;
    }
};

using CancelIoExHook = Hook<"CancelIoEx", decltype(&CancelIoEx), Cancels>;
using CancelIoHook = Hook<"CancelIo", decltype(&CancelIo), CancelsOwn>;

} // namespace

void install_results() noexcept
{
    GetOverlappedResultHook::install();
    GetOverlappedResultExHook::install();
    CancelIoExHook::install();
    CancelIoHook::install();
}

} // namespace probe
