#include "handles.hpp"

#include "system.hpp"
#include "trace.hpp"

#include <atomic>
#include <cstdint>

namespace probe {

namespace {

constexpr std::uintptr_t most = 1 << 18; // handles are small multiples of four
constexpr int most_kept = 1 << 14;       // each one costs an event
constinit std::atomic<bool> closed[most]{};
constinit std::atomic<int> kept{0};

bool is_ordinary(std::uintptr_t value) noexcept
{
    return value != 0 && value % 4 == 0 && value / 4 < most;
}

} // namespace

void keep_closed(HANDLE handle) noexcept
{
    const auto value = reinterpret_cast<std::uintptr_t>(handle);
    if (!is_ordinary(value) || kept.load() >= most_kept)
        return;
    const KeepLastError keep;
    // The slot that was free last is usually given away first; where it is not, a few more tries may reach it.
    HANDLE others[16];
    int tries = 0;
    for (; tries < 16; ++tries) {
        others[tries] = os().create_event(nullptr, TRUE, FALSE, nullptr);
        if (others[tries] != handle)
            continue;
        closed[value / 4] = true;
        ++kept;
        break;
    }
    for (int i = 0; i < tries; ++i)
        if (others[i] != nullptr)
            os().close_handle(others[i]);
}

bool is_kept_closed(HANDLE handle) noexcept
{
    const auto value = reinterpret_cast<std::uintptr_t>(handle);
    return is_ordinary(value) && closed[value / 4].load(std::memory_order_relaxed);
}

void tell_closed(HANDLE handle, const char* call) noexcept
{
    Line line = begin_line("note", next_sequence());
    line.field().text("closed-handle").field().text("handle=").hex(reinterpret_cast<std::uintptr_t>(handle));
    write(line.field().text("name=").text(call));
}

} // namespace probe
