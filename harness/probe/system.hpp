// system: the real functions that the probe itself calls. The probe is linked into the executable, so a plain call of it
// would go through the very imports it replaces, and be recorded.
#pragma once

#include <windows.h>

#include <cstddef>

namespace probe {

// A function that a loaded module exports, under whichever module it lies; nothing if none does.
void* find_exported(const char* name) noexcept;

template <typename Function>
Function find_function(const char* name) noexcept
{
    return reinterpret_cast<Function>(find_exported(name));
}

struct System {
    decltype(&::HeapAlloc) heap_alloc;
    decltype(&::HeapFree) heap_free;
    decltype(&::VirtualAlloc) virtual_alloc;
    decltype(&::CreateEventW) create_event;
    decltype(&::SetEvent) set_event;
    decltype(&::ResetEvent) reset_event;
    decltype(&::CloseHandle) close_handle;
    decltype(&::CreateThread) create_thread;
    decltype(&::WaitForSingleObject) wait_for_single_object;
    decltype(&::Sleep) sleep;
    decltype(&::PeekNamedPipe) peek_named_pipe;
    // Puts a packet into a port the way a driver does, with a status of its own (ntdll, not in the headers).
    LONG(NTAPI* set_io_completion)(HANDLE port, ULONG_PTR key, ULONG_PTR value, LONG status, ULONG_PTR bytes);
};

// Looked up at the first use.
const System& os() noexcept;

// What the functions of this header's users must not change for the program.
class KeepLastError {
public:
    KeepLastError() noexcept : error_(GetLastError()) {}
    ~KeepLastError() { SetLastError(error_); }
    KeepLastError(const KeepLastError&) = delete;
    KeepLastError& operator=(const KeepLastError&) = delete;

private:
    DWORD error_;
};

class Lock {
public:
    explicit Lock(SRWLOCK& lock) noexcept : lock_(lock) { AcquireSRWLockExclusive(&lock_); }
    ~Lock() { ReleaseSRWLockExclusive(&lock_); }
    Lock(const Lock&) = delete;
    Lock& operator=(const Lock&) = delete;

private:
    SRWLOCK& lock_;
};

// Nodes that never go back to the system: the probe must not use the heap it watches. Not thread-safe by itself.
template <typename Node>
class Pool {
public:
    // A node whose members are as they were; its `next` is the pool's as long as it is free. Nothing: out of memory.
    Node* take() noexcept
    {
        if (free_ == nullptr)
            grow();
        Node* const node = free_;
        if (node != nullptr)
            free_ = node->next;
        return node;
    }
    void give_back(Node* node) noexcept
    {
        node->next = free_;
        free_ = node;
    }

private:
    void grow() noexcept
    {
        constexpr std::size_t bytes = 1 << 18;
        auto* const nodes =
            static_cast<Node*>(os().virtual_alloc(nullptr, bytes, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE));
        for (std::size_t i = 0; nodes != nullptr && i < bytes / sizeof(Node); ++i)
            give_back(nodes + i);
    }

    Node* free_ = nullptr;
};

} // namespace probe
