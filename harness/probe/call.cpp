#include "call.hpp"

#include "requests.hpp"
#include "threads.hpp"

namespace probe {

Call begin_call(Counter& counter, const void* from, const char* stack) noexcept
{
    const DWORD error_before = GetLastError();
    announce_thread();
    tell_frames_left(stack);
    return {counter.name, next_sequence(), from, error_before, begin_counted(counter)};
}

void hold(const Call& call) noexcept
{
    if (call.injection.action == Action::hold)
        wait_for_calls(call.injection.name, call.injection.number);
}

} // namespace probe
