// requests: what is in flight. A request is the kernel's from the moment it was accepted until the program has observed
// its end; that is looked after here, and so is whatever the plan does to a request.
#pragma once

#include "call.hpp"

#include <windows.h>

#include <cstring>
#include <type_traits>

namespace probe {

// A submit as every kind of request has it.
struct Submit {
    HANDLE file;
    OVERLAPPED* request; // not null
    const void* buffer;
    std::uint64_t bytes;
};

// Facts of a submit's `call` line.
void tell_submit(Facts& facts, const Submit& submit) noexcept;

// The real call, to be made now or later. It says how it ended: 0, ERROR_IO_PENDING, or why it was refused.
class Attempt {
public:
    Attempt() noexcept = default;
    template <typename Function>
    explicit Attempt(const Function& function) noexcept
        : run_([](void* room) noexcept -> DWORD { return (*static_cast<Function*>(room))(); })
    {
        static_assert(std::is_trivially_copyable_v<Function> && sizeof(Function) <= sizeof room_);
        std::memcpy(room_, &function, sizeof function);
    }
    DWORD operator()() noexcept { return run_(room_); }

private:
    DWORD (*run_)(void*) noexcept = nullptr;
    alignas(16) unsigned char room_[352];
};

// Makes the submit as the plan wants it. `later` is the same call without anything that lies in the caller's frame.
// How it ended: 0 at once, ERROR_IO_PENDING, or why it was refused; GetLastError is as the call left it.
DWORD submit(const Call& call, const Submit& submit, Attempt now, const Attempt& later) noexcept;

// Where a BOOL and an `int` of Winsock come from.
inline BOOL as_bool(DWORD error) noexcept
{
    if (error != 0)
        SetLastError(error);
    return error == 0;
}
inline int as_socket_result(DWORD error) noexcept
{
    if (error != 0)
        SetLastError(error);
    return error == 0 ? 0 : -1;
}

// ---------------------------------------------------------------- the end is seen

void observe(const OVERLAPPED* request) noexcept;
void observe_event(HANDLE event_or_file) noexcept;

// ---------------------------------------------------------------- somebody waits: requests put off are made now

// `only_looks`: a wait of no length. The first look finds nothing yet; a program that polls gets on at the second.
void start_for_object(HANDLE event_or_file, bool only_looks) noexcept;
void start_for_request(const OVERLAPPED* request, bool only_looks) noexcept;
void start_for_port(HANDLE port, bool only_looks) noexcept;

// For as long as it lives, this thread waits in a dequeue: what is put off from now on need not wait for one to begin.
class DequeueUnderWay {
public:
    explicit DequeueUnderWay(bool waits) noexcept;
    ~DequeueUnderWay();
    DequeueUnderWay(const DequeueUnderWay&) = delete;
    DequeueUnderWay& operator=(const DequeueUnderWay&) = delete;

private:
    bool waits_;
};

// Ends requests put off of that file as cancelled (null: each; `own`: only those of the calling thread). How many.
int cancel_put_off(HANDLE file, const OVERLAPPED* request, bool own) noexcept;

// ---------------------------------------------------------------- files

void file_is_on_port(HANDLE file, HANDLE port, ULONG_PTR key) noexcept;
void file_skips_packets(HANDLE file) noexcept;
void forget_file(HANDLE file) noexcept;

// ---------------------------------------------------------------- stacks

// Tells, once for each request, that what it needs lay in a frame of this thread that is gone: below `stack`.
void tell_frames_left(const char* stack) noexcept;
// The same at the thread's end, when the whole stack goes.
void tell_stack_left() noexcept;

} // namespace probe
