// Threads, by all three ways to make one. Each starts in an entry of ours, which knows the call that made it.
#include "call.hpp"
#include "hooks.hpp"
#include "threads.hpp"

#include <cerrno>
#include <utility>

namespace probe {

namespace {

template <typename Function>
struct Start {
    Function function;
    void* argument;
    std::uint64_t created_by;
};

template <typename Function>
Start<Function>* make_start(Function function, void* argument, std::uint64_t created_by) noexcept
{
    auto* const start = static_cast<Start<Function>*>(os().heap_alloc(GetProcessHeap(), 0, sizeof(Start<Function>)));
    if (start != nullptr)
        *start = {function, argument, created_by};
    return start;
}

void drop_start(void* start) noexcept
{
    os().heap_free(GetProcessHeap(), 0, start);
}

template <typename Function>
Start<Function> take_start(void* argument) noexcept
{
    const KeepLastError keep;
    const Start<Function> start = *static_cast<Start<Function>*>(argument);
    drop_start(argument);
    announce_thread(start.created_by);
    return start;
}

// ---------------------------------------------------------------- CreateThread

DWORD WINAPI enter_thread(void* argument)
{
    const auto start = take_start<LPTHREAD_START_ROUTINE>(argument);
    return start.function(start.argument);
}

struct CreatesThread : FailsWithNull {
    static HANDLE make(const Call& call, auto real, SECURITY_ATTRIBUTES* security, SIZE_T stack,
                       LPTHREAD_START_ROUTINE function, void* argument, DWORD flags, DWORD* id) noexcept
    {
        auto* const start = make_start(function, argument, call.sequence);
        SetLastError(call.error_before);
        const HANDLE thread = start != nullptr ? real(security, stack, &enter_thread, start, flags, id) : nullptr;
        if (thread == nullptr && start != nullptr) {
            const KeepLastError keep;
            drop_start(start);
        }
        return thread;
    }
    static void after(Facts& facts, const Call&, HANDLE thread, auto...) noexcept
    {
        if (thread != nullptr)
            facts.value("thread", GetThreadId(thread));
    }
};

using CreateThreadHook = Hook<"CreateThread", decltype(&CreateThread), CreatesThread>;

// ---------------------------------------------------------------- _beginthreadex

using Entry = unsigned(__stdcall*)(void*);

unsigned __stdcall enter_runtime_thread(void* argument)
{
    const auto start = take_start<Entry>(argument);
    return start.function(start.argument);
}

struct BeginsThread : Plain {
    static std::uintptr_t failure(DWORD) noexcept
    {
        errno = EAGAIN;
        return 0;
    }
    static std::uintptr_t make(const Call& call, auto real, void* security, unsigned stack, Entry function,
                               void* argument, unsigned flags, unsigned* id) noexcept
    {
        auto* const start = make_start(function, argument, call.sequence);
        SetLastError(call.error_before);
        const std::uintptr_t thread =
            start != nullptr ? real(security, stack, &enter_runtime_thread, start, flags, id) : 0;
        if (thread == 0 && start != nullptr) {
            const KeepLastError keep;
            drop_start(start);
        }
        return thread;
    }
    static void after(Facts& facts, const Call&, std::uintptr_t thread, auto...) noexcept
    {
        if (thread != 0)
            facts.value("thread", GetThreadId(reinterpret_cast<HANDLE>(thread)));
    }
};

using BeginThreadHook =
    Hook<"_beginthreadex", std::uintptr_t(WINAPI*)(void*, unsigned, Entry, void*, unsigned, unsigned*), BeginsThread>;

// ---------------------------------------------------------------- pthreads, which g++'s std::thread is made of

using Posix = void* (*)(void*);

void* enter_posix_thread(void* argument)
{
    const auto start = take_start<Posix>(argument);
    return start.function(start.argument);
}

using HandleOf = void* (*)(std::uintptr_t);
constinit HandleOf handle_of = nullptr; // winpthread's, if there is one

// The number Windows has for it; 0 if that cannot be learned.
DWORD id_of(std::uintptr_t thread) noexcept
{
    const KeepLastError keep;
    const HANDLE handle = handle_of != nullptr && thread != 0 ? handle_of(thread) : nullptr;
    return handle != nullptr && handle != INVALID_HANDLE_VALUE ? GetThreadId(handle) : 0;
}

struct CreatesPosix : Plain {
    static constexpr int none_left = 11; // EAGAIN, by POSIX's number
    static int failure(DWORD) noexcept { return none_left; }
    static int make(const Call& call, auto real, std::uintptr_t* thread, const void* attributes, Posix function,
                    void* argument) noexcept
    {
        auto* const start = make_start(function, argument, call.sequence);
        SetLastError(call.error_before);
        const int error = start != nullptr ? real(thread, attributes, &enter_posix_thread, start) : none_left;
        if (error != 0 && start != nullptr)
            drop_start(start);
        return error;
    }
    static void after(Facts& facts, const Call&, int error, std::uintptr_t* thread, auto...) noexcept
    {
        const DWORD id = error == 0 ? id_of(*thread) : 0;
        if (id != 0)
            facts.value("thread", id);
    }
};

struct OnPosix : Plain {
    static int failure(DWORD code) noexcept { return static_cast<int>(code); }
    static void before(Facts& facts, std::uintptr_t thread, auto...) noexcept
    {
        if (const DWORD id = id_of(thread))
            facts.value("thread", id);
    }
};

using PosixCreateHook = Hook<"pthread_create", int(WINAPI*)(std::uintptr_t*, const void*, Posix, void*), CreatesPosix>;
using PosixJoinHook = Hook<"pthread_join", int(WINAPI*)(std::uintptr_t, void**), OnPosix>;
using PosixDetachHook = Hook<"pthread_detach", int(WINAPI*)(std::uintptr_t), OnPosix>;

} // namespace

void install_threads() noexcept
{
    handle_of = find_function<HandleOf>("pthread_gethandle");
    CreateThreadHook::install();
    BeginThreadHook::install();
    PosixCreateHook::install();
    PosixJoinHook::install();
    PosixDetachHook::install();
}

} // namespace probe
