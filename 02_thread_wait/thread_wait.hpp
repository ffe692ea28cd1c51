// Stage 2, the mechanism: the thread that asks goes on at once; another one, foo, waits and learns how the read ended.
#pragma once

#include "lab.hpp"

#include <process.h>

inline void set_offset(OVERLAPPED& request, std::uint64_t offset) noexcept
{
    request.Offset = static_cast<DWORD>(offset);
    request.OffsetHigh = static_cast<DWORD>(offset >> 32);
}

enum class Outcome { completed, pending, refused };

struct Started {
    Outcome outcome;
    DWORD error; // why it was refused
};

// Asks for a read into `buffer`. Unless refused, the kernel owns `request` and `buffer` until finish_read returns,
// in whichever thread that happens.
inline Started start_read(HANDLE file, std::span<std::byte> buffer, OVERLAPPED& request) noexcept
{
    if (ReadFile(file, buffer.data(), static_cast<DWORD>(buffer.size()), nullptr, &request))
        return {Outcome::completed, ERROR_SUCCESS}; // T2: done, and the event is set: foo reports it like any other
    const DWORD error = GetLastError();
    if (error == ERROR_IO_PENDING)
        return {Outcome::pending, ERROR_SUCCESS};
    return {Outcome::refused, error};
}

struct Finished {
    DWORD error; // T13: the Win32 code. OVERLAPPED::Internal is an NTSTATUS, and reserved: 0xC000014B, not 109
    DWORD bytes;
};

inline void cancel_read(HANDLE file, OVERLAPPED& request)
{
    for (int attempt = 0; attempt < 2; ++attempt) {
        if (CancelIoEx(file, &request)) // Ex: CancelIo reaches only what the calling thread itself has asked for
            return;
        const DWORD error = GetLastError();
        if (error == ERROR_NOT_FOUND) // not an error: it completed just before we asked
            return;
        lab::report("CancelIoEx", error);
    }
}

// Waits for the completion of a request that was not refused, cancelling it after timeout_ms, and returns how it ended.
// When this returns the completion has been seen: the kernel has let go of the request and its buffer.
inline Finished finish_read(HANDLE file, OVERLAPPED& request, DWORD timeout_ms)
{
    // T14: a wait that failed has waited for nothing; calling that "complete" would hand out memory still written to.
    const DWORD waited = WaitForSingleObject(request.hEvent, timeout_ms);
    if (waited == WAIT_FAILED)
        lab::report("WaitForSingleObject", GetLastError());
    if (waited != WAIT_OBJECT_0)
        cancel_read(file, request);

    DWORD bytes = 0;
    if (GetOverlappedResult(file, &request, &bytes, TRUE))
        return {ERROR_SUCCESS, bytes};
    const DWORD error = GetLastError();
    if (!HasOverlappedIoCompleted(&request)) // the wait in that call has failed: the kernel still has it
        lab::end_process("GetOverlappedResult", error);
    return {error, 0};
}

// What foo is told about a read, and where it leaves the result. All of it is main's: foo only borrows it until main
// has joined it.
struct Waiter {
    HANDLE file;
    OVERLAPPED* request;
    DWORD timeout_ms;
    Finished finished{};
};

// The waiting thread. T15: it cannot show the data, and not because threads had separate memory: they share all of it.
// What is missing is a way from the OVERLAPPED to the buffer, and a rule who frees it. That is stage 3.
inline unsigned __stdcall foo(void* argument)
{
    Waiter& waiter = *static_cast<Waiter*>(argument);
    waiter.finished = finish_read(waiter.file, *waiter.request, waiter.timeout_ms);
    lab::print_line("foo : I/O Complete");
    lab::print_line("error : ", waiter.finished.error); // T12: printed by its own type; %d cut 64-bit values in half
    lab::print_line("bytes : ", waiter.finished.bytes);
    return 0;
}

// T11: not CreateThread: foo uses the C++ runtime, which sets up its per-thread state in _beginthreadex.
inline lab::Thread start_thread(unsigned(__stdcall* entry)(void*), void* argument) noexcept
{
    return lab::Thread{reinterpret_cast<HANDLE>(_beginthreadex(nullptr, 0, entry, argument, 0, nullptr))};
}
