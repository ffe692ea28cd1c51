// threads: what the probe knows of each thread, above all where its stack lies.
#pragma once

#include <atomic>
#include <cstdint>

namespace probe {

struct Thread {
    std::atomic<bool> taken{false};
    std::uint32_t id = 0;
    std::uintptr_t low = 0;
    std::uintptr_t high = 0;
    bool announced = false;
    std::atomic<int> on_stack{0}; // requests in flight with something on this thread's stack
};

// The calling thread's own. Never nothing; threads beyond the 512th at one time share a last one without a stack.
Thread& this_thread() noexcept;

// Whose stack the address lies on; null if on none.
Thread* thread_with_stack_at(std::uintptr_t address) noexcept;

// Writes `thread-start` once: by the thread's own entry with the call that created it, else at its first recorded call.
void announce_thread(std::uint64_t created_by = 0) noexcept;

// At the thread's end. Writes `thread-end` if it was announced.
void forget_thread() noexcept;

} // namespace probe
