// Events, and everything that waits.
#include "winsock.hpp"

#include "hooks.hpp"

#include <array>
#include <atomic>
#include <utility>

namespace probe {

namespace {

using CreateEventAHook = Hook<"CreateEventA", decltype(&CreateEventA), FailsWithNull>;
using CreateEventWHook = Hook<"CreateEventW", decltype(&CreateEventW), FailsWithNull>;
using CreateEventExAHook = Hook<"CreateEventExA", decltype(&CreateEventExA), FailsWithNull>;
using CreateEventExWHook = Hook<"CreateEventExW", decltype(&CreateEventExW), FailsWithNull>;

struct OnEvent : FailsWithFalse {
    static HANDLE closed(HANDLE event) noexcept { return first_closed(event); }
};

using SetEventHook = Hook<"SetEvent", decltype(&SetEvent), OnEvent>;
using ResetEventHook = Hook<"ResetEvent", decltype(&ResetEvent), OnEvent>;

// A wait that is to fail with 258 has timed out.
DWORD wait_failure(DWORD code) noexcept
{
    return code == WAIT_TIMEOUT ? WAIT_TIMEOUT : WAIT_FAILED;
}

struct WaitsForOne : Plain {
    static DWORD failure(DWORD code) noexcept { return wait_failure(code); }
    static HANDLE closed(HANDLE object, auto...) noexcept { return first_closed(object); }
    static DWORD make(const Call& call, auto real, HANDLE object, DWORD ms, auto... more) noexcept
    {
        start_for_object(object, ms == 0);
        SetLastError(call.error_before);
        const DWORD came = real(object, ms, more...);
        if (came == WAIT_OBJECT_0)
            observe_event(object);
        return came;
    }
};

using WaitForSingleObjectHook = Hook<"WaitForSingleObject", decltype(&WaitForSingleObject), WaitsForOne>;
using WaitForSingleObjectExHook = Hook<"WaitForSingleObjectEx", decltype(&WaitForSingleObjectEx), WaitsForOne>;

struct WaitsForMany : Plain {
    static DWORD failure(DWORD code) noexcept { return wait_failure(code); }
    static void before(Facts& facts, DWORD count, const HANDLE* objects, auto...) noexcept
    {
        facts.line().field().text("handles=");
        for (DWORD i = 0; objects != nullptr && i < count && i < MAXIMUM_WAIT_OBJECTS; ++i)
            facts.line().text(i > 0 ? "," : "").hex(as_number(objects[i]));
    }
    static HANDLE closed(DWORD count, const HANDLE* objects, auto...) noexcept
    {
        for (DWORD i = 0; objects != nullptr && i < count && i < MAXIMUM_WAIT_OBJECTS; ++i)
            if (is_kept_closed(objects[i]))
                return objects[i];
        return nullptr;
    }
    static DWORD make(const Call& call, auto real, DWORD count, const HANDLE* objects, BOOL all, DWORD ms,
                      auto... more) noexcept
    {
        for (DWORD i = 0; objects != nullptr && i < count && i < MAXIMUM_WAIT_OBJECTS; ++i)
            start_for_object(objects[i], ms == 0);
        SetLastError(call.error_before);
        const DWORD came = real(count, objects, all, ms, more...);
        if (came < WAIT_OBJECT_0 + count && count <= MAXIMUM_WAIT_OBJECTS)
            for (DWORD i = 0; i < count; ++i)
                if (all || i == came - WAIT_OBJECT_0)
                    observe_event(objects[i]);
        return came;
    }
};

using WaitForMultipleObjectsHook = Hook<"WaitForMultipleObjects", decltype(&WaitForMultipleObjects), WaitsForMany>;
using WaitForMultipleObjectsExHook =
    Hook<"WaitForMultipleObjectsEx", decltype(&WaitForMultipleObjectsEx), WaitsForMany>;

using WaitForEventsHook = Hook<"WSAWaitForMultipleEvents", decltype(&WSAWaitForMultipleEvents), WaitsForMany>;

struct GivesWay : Plain {
    static DWORD failure(DWORD) noexcept { return 0; }
};
struct SwitchesThread : Plain {
    static BOOL failure(DWORD) noexcept { return FALSE; }
};

using SleepHook = Hook<"Sleep", decltype(&Sleep), Plain>;
using SleepExHook = Hook<"SleepEx", decltype(&SleepEx), GivesWay>;
using SwitchToThreadHook = Hook<"SwitchToThread", decltype(&SwitchToThread), SwitchesThread>;

// What g++'s std::this_thread::sleep_for is made of.
struct Timespec {
    std::int64_t seconds;
    std::int32_t nanoseconds;
};
struct Naps : Plain {
    static int failure(DWORD) noexcept { return -1; }
    static void before(Facts& facts, const Timespec* wanted, auto...) noexcept
    {
        if (wanted != nullptr)
            facts.value("ns", static_cast<std::uint64_t>(wanted->seconds * 1'000'000'000 + wanted->nanoseconds));
    }
};

using NanosleepHook = Hook<"nanosleep", int(WINAPI*)(const Timespec*, Timespec*), Naps>;

// No signal of Linux is a Ctrl-Break to Wine. So the handlers are called by one of these each, up to so many.
constexpr std::size_t most_handlers = 4;
constinit std::atomic<PHANDLER_ROUTINE> told_of_breaks[most_handlers]{};

template <std::size_t number>
BOOL WINAPI turn_into_break(DWORD event)
{
    return told_of_breaks[number].load()(event == CTRL_C_EVENT ? CTRL_BREAK_EVENT : event);
}

template <std::size_t... numbers>
constexpr auto callers_of(std::index_sequence<numbers...>) noexcept
{
    return std::array<PHANDLER_ROUTINE, sizeof...(numbers)>{&turn_into_break<numbers>...};
}

struct SetsHandler : FailsWithFalse {
    static BOOL make(const Call& call, auto real, PHANDLER_ROUTINE handler, BOOL add) noexcept
    {
        static constexpr auto callers = callers_of(std::make_index_sequence<most_handlers>());
        if (handler == nullptr || (add && call.injection.action != Action::turn_into_break))
            return real(handler, add);
        for (std::size_t i = 0; i < most_handlers; ++i) {
            PHANDLER_ROUTINE from = add ? nullptr : handler; // one that has gone may still be called: it stays there
            if (told_of_breaks[i].compare_exchange_strong(from, handler))
                return real(callers[i], add);
        }
        return real(handler, add);
    }
};

using SetConsoleCtrlHandlerHook = Hook<"SetConsoleCtrlHandler", decltype(&SetConsoleCtrlHandler), SetsHandler>;

} // namespace

void install_events() noexcept
{
    CreateEventAHook::install();
    CreateEventWHook::install();
    CreateEventExAHook::install();
    CreateEventExWHook::install();
    SetEventHook::install();
    ResetEventHook::install();
    WaitForSingleObjectHook::install();
    WaitForSingleObjectExHook::install();
    WaitForMultipleObjectsHook::install();
    WaitForMultipleObjectsExHook::install();
    WaitForEventsHook::install();
    SleepHook::install();
    SleepExHook::install();
    SwitchToThreadHook::install();
    NanosleepHook::install();
    SetConsoleCtrlHandlerHook::install();
}

} // namespace probe
