#include "threads.hpp"

#include "trace.hpp"

#include <windows.h>

namespace probe {

namespace {

constinit Thread threads[512]{};
constinit Thread overflow{}; // for more threads than that: no stack, nothing found
constinit Thread gone{};     // of one that has been told to have ended, and whose last destructors still make calls
constinit std::atomic<DWORD> slot{TLS_OUT_OF_INDEXES};

// thread_local would need the C++ runtime, which allocates.
DWORD tls_slot() noexcept
{
    DWORD index = slot.load();
    if (index == TLS_OUT_OF_INDEXES) {
        const DWORD fresh = TlsAlloc();
        if (slot.compare_exchange_strong(index, fresh))
            return fresh;
        TlsFree(fresh);
    }
    return index;
}

Thread& take_thread() noexcept
{
    for (Thread& thread : threads) {
        bool expected = false;
        if (!thread.taken.load(std::memory_order_relaxed) && thread.taken.compare_exchange_strong(expected, true)) {
            ULONG_PTR low = 0;
            ULONG_PTR high = 0;
            GetCurrentThreadStackLimits(&low, &high);
            thread.id = GetCurrentThreadId();
            thread.announced = false;
            thread.on_stack = 0;
            thread.low = low;
            thread.high = high;
            return thread;
        }
    }
    return overflow;
}

} // namespace

Thread& this_thread() noexcept
{
    auto* thread = static_cast<Thread*>(TlsGetValue(tls_slot()));
    if (thread == nullptr) {
        thread = &take_thread();
        TlsSetValue(tls_slot(), thread);
    }
    return *thread;
}

Thread* thread_with_stack_at(std::uintptr_t address) noexcept
{
    for (Thread& thread : threads)
        if (address >= thread.low && address < thread.high)
            return &thread;
    return nullptr;
}

void announce_thread(std::uint64_t created_by) noexcept
{
    Thread& thread = this_thread();
    if (thread.announced || &thread == &gone)
        return;
    thread.announced = true;
    Line line = begin_line("note", next_sequence());
    line.field().text("thread-start");
    line.field().text("low=").hex(thread.low).field().text("high=").hex(thread.high);
    if (created_by != 0)
        line.field().text("of=").decimal(created_by);
    write(line);
}

void forget_thread() noexcept
{
    Thread& thread = this_thread();
    if (&thread == &gone)
        return;
    if (thread.announced) {
        Line line = begin_line("note", next_sequence());
        write(line.field().text("thread-end"));
    }
    TlsSetValue(tls_slot(), &gone);
    thread.low = 0;
    thread.high = 0;
    if (&thread != &overflow)
        thread.taken = false;
}

} // namespace probe
