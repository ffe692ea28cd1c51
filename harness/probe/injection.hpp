// injection: the plan, from the environment variable LAB_INJECT, of what is to happen to which call.
//
//     NAME OCCURRENCE ACTION [ARG...] ; ...        OCCURRENCE: 1 is the first call of that name, 0 every one
//
//     fail CODE | complete | pend | pend-ms MS | fail-completion CODE | short N | hold NAME COUNT | hold-until-data
//     break        of SetConsoleCtrlHandler: what comes as a Ctrl-C is a Ctrl-Break to this handler
#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>

namespace probe {

enum class Action {
    none,
    fail,
    complete,
    pend,
    pend_ms,
    fail_completion,
    shorten,
    hold,
    hold_until_data,
    turn_into_break
};

struct Injection {
    Action action = Action::none;
    std::uint32_t number = 0;   // CODE, MS, N, COUNT
    std::string_view name = {}; // what hold waits for
    std::string_view word() const noexcept;
};

// How often a function was called. One for each hook, and all of them in a list for `hold`.
struct Counter {
    const char* name;
    std::atomic<std::uint32_t> calls{0};
    Counter* next = nullptr;
};

void add_counter(Counter& counter) noexcept;

// Reads the plan. An item that is not understood is told on the trace as a note and left out.
void plan_injections(std::string_view text) noexcept;
void plan_injections_from_environment() noexcept;

// Counts the call and says what is planned for it.
Injection begin_counted(Counter& counter) noexcept;

// Until the process has begun that many calls of that name.
void wait_for_calls(std::string_view name, std::uint32_t calls) noexcept;

} // namespace probe
