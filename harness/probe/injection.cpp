#include "injection.hpp"

#include "system.hpp"
#include "trace.hpp"

#include <cstring>

namespace probe {

namespace {

struct Item {
    std::string_view name;
    std::uint32_t occurrence = 0;
    Injection injection;
};

struct Word {
    std::string_view text;
    Action action;
    bool has_number;
};

constexpr Word words[] = {{"fail", Action::fail, true},
                          {"complete", Action::complete, false},
                          {"pend", Action::pend, false},
                          {"pend-ms", Action::pend_ms, true},
                          {"fail-completion", Action::fail_completion, true},
                          {"short", Action::shorten, true},
                          {"hold", Action::hold, true},
                          {"hold-until-data", Action::hold_until_data, false},
                          {"break", Action::turn_into_break, false}};

// constinit, here and in every module: a constructor would run after the loader has called us, and undo it all.
constinit char plan_text[4096]{};
constinit Item items[64]{};
constinit std::size_t item_count = 0;
constinit Counter* counters = nullptr;
constinit SRWLOCK lock = SRWLOCK_INIT;
constinit CONDITION_VARIABLE counted = CONDITION_VARIABLE_INIT;
constinit std::atomic<int> holders{0};

// The part before `separator`, which is taken off `text`.
std::string_view take(std::string_view& text, char separator) noexcept
{
    const std::size_t end = text.find(separator);
    const std::string_view part = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    return part;
}

std::string_view take_word(std::string_view& text) noexcept
{
    while (text.starts_with(' '))
        text.remove_prefix(1);
    return take(text, ' ');
}

bool read_number(std::string_view text, std::uint32_t& number) noexcept
{
    number = 0;
    for (const char digit : text) {
        if (digit < '0' || digit > '9')
            return false;
        number = number * 10 + static_cast<std::uint32_t>(digit - '0');
    }
    return !text.empty();
}

bool read_item(std::string_view text, Item& item) noexcept
{
    item = {};
    item.name = take_word(text);
    if (!read_number(take_word(text), item.occurrence))
        return false;
    const std::string_view action = take_word(text);
    for (const Word& word : words) {
        if (word.text != action)
            continue;
        item.injection.action = word.action;
        if (word.action == Action::hold)
            item.injection.name = take_word(text);
        return !word.has_number || read_number(take_word(text), item.injection.number);
    }
    return false;
}

} // namespace

std::string_view Injection::word() const noexcept
{
    for (const Word& each : words)
        if (each.action == action)
            return each.text;
    return {};
}

void add_counter(Counter& counter) noexcept
{
    const Lock guard(lock);
    counter.next = counters;
    counters = &counter;
}

void plan_injections(std::string_view text) noexcept
{
    item_count = 0;
    const std::size_t length = text.copy(plan_text, sizeof plan_text);
    std::string_view rest{plan_text, length};
    while (!rest.empty()) {
        const std::string_view part = take(rest, ';');
        if (part.find_first_not_of(' ') == std::string_view::npos)
            continue;
        if (item_count < sizeof items / sizeof *items && read_item(part, items[item_count])) {
            ++item_count;
        } else {
            Line line = begin_line("note", next_sequence());
            write(line.field().text("bad-injection").field().text("item=").text(part));
        }
    }
}

void plan_injections_from_environment() noexcept
{
    char text[sizeof plan_text];
    const DWORD length = GetEnvironmentVariableA("LAB_INJECT", text, sizeof text);
    plan_injections({text, length < sizeof text ? length : 0});
}

Injection begin_counted(Counter& counter) noexcept
{
    const std::uint32_t occurrence = ++counter.calls;
    if (holders.load() != 0) {
        const Lock guard(lock); // or the call could slip in between a holder's look and its sleep
        WakeAllConditionVariable(&counted);
    }
    for (std::size_t i = 0; i < item_count; ++i)
        if (items[i].name == counter.name && (items[i].occurrence == 0 || items[i].occurrence == occurrence))
            return items[i].injection;
    return {};
}

void wait_for_calls(std::string_view name, std::uint32_t calls) noexcept
{
    const auto enough = [&]() noexcept {
        for (const Counter* counter = counters; counter != nullptr; counter = counter->next)
            if (name == counter->name)
                return counter->calls.load() >= calls;
        return true; // nobody ever calls it: waiting would be for ever
    };
    ++holders;
    AcquireSRWLockExclusive(&lock);
    while (!enough())
        SleepConditionVariableSRW(&counted, &lock, INFINITE, 0);
    ReleaseSRWLockExclusive(&lock);
    --holders;
}

} // namespace probe
