// Stage 3, the mechanism: one request's whole context travels with its OVERLAPPED. Whoever sees the completion has the
// buffer in hand, and frees both.
#pragma once

#include "lab.hpp"

#include <memory>
#include <process.h>
#include <type_traits>

inline constexpr DWORD block_size = 4096;

// One request's context: the OVERLAPPED the kernel knows, plus what the program needs when it comes back.
// P13: no memset: it would wipe the owners below. OVERLAPPED{} and the member initialisers zero what must be zero.
struct OVERLAPPED_PLUS : OVERLAPPED {
    // Makes a context that is ready to be started once. Throws lab::Win32Error if no event can be had.
    OVERLAPPED_PLUS(HANDLE file_to_read, std::uint64_t offset, DWORD timeout)
        : OVERLAPPED{}, file(file_to_read), timeout_ms(timeout)
    {
        if (!done)
            throw lab::Win32Error{"CreateEvent", GetLastError()};
        hEvent = done.get();
        Offset = static_cast<DWORD>(offset);
        OffsetHigh = static_cast<DWORD>(offset >> 32);
    }

    std::span<std::byte> block() const noexcept { return {buffer.get(), block_size}; }

    HANDLE file; // P18: borrowed. Several requests may share one file; if each closed it, all but one close a stranger
    DWORD timeout_ms;
    // P6: an owner that knows it is an array: delete[] for what new[] made
    std::unique_ptr<std::byte[]> buffer = std::make_unique<std::byte[]>(block_size);
    // P8: closed together with the context. The last member: nothing runs between its call and the look at its error
    lab::Event done{CreateEventW(nullptr, TRUE, FALSE, nullptr)};
};

// P14: from OVERLAPPED* back to the context it is the base of: a static_cast, which adjusts the address if the base
// does not stand at offset 0. A virtual function would push it off 0, and a cast through void* would then miss it.
inline OVERLAPPED_PLUS& context_of(OVERLAPPED* request) noexcept
{
    static_assert(std::is_base_of_v<OVERLAPPED, OVERLAPPED_PLUS> && !std::is_polymorphic_v<OVERLAPPED_PLUS>);
    return *static_cast<OVERLAPPED_PLUS*>(request);
}

enum class Outcome { completed, pending, refused };

struct Started {
    Outcome outcome;
    DWORD error; // why it was refused
};

// Asks for the read the context describes. Unless refused, the kernel owns the context, buffer and all, until
// finish_read returns.
inline Started start_read(OVERLAPPED_PLUS& context) noexcept
{
    if (ReadFile(context.file, context.buffer.get(), block_size, nullptr, &context))
        return {Outcome::completed, ERROR_SUCCESS};
    const DWORD error = GetLastError();
    if (error == ERROR_IO_PENDING)
        return {Outcome::pending, ERROR_SUCCESS};
    return {Outcome::refused, error};
}

struct Finished {
    DWORD error;
    DWORD bytes;
};

inline void cancel_read(OVERLAPPED_PLUS& context)
{
    for (int attempt = 0; attempt < 2; ++attempt) {
        if (CancelIoEx(context.file, &context))
            return;
        const DWORD error = GetLastError();
        if (error == ERROR_NOT_FOUND) // not an error: it completed just before we asked
            return;
        lab::report("CancelIoEx", error);
    }
}

// Waits for the completion, cancelling after the context's timeout, and returns how the read ended.
inline Finished finish_read(OVERLAPPED_PLUS& context)
{
    const DWORD waited = WaitForSingleObject(context.hEvent, context.timeout_ms);
    if (waited == WAIT_FAILED)
        lab::report("WaitForSingleObject", GetLastError());
    if (waited != WAIT_OBJECT_0)
        cancel_read(context);

    DWORD bytes = 0;
    if (GetOverlappedResult(context.file, &context, &bytes, TRUE))
        return {ERROR_SUCCESS, bytes};
    const DWORD error = GetLastError();
    if (!HasOverlappedIoCompleted(&context)) // the wait in that call has failed: the kernel still has it
        lab::end_process("GetOverlappedResult", error);
    return {error, 0};
}

// The waiting thread. Its argument is the OVERLAPPED* of a context that is foo's from now on: nobody else touches it.
inline unsigned __stdcall foo(void* argument)
{
    // P7: the completion's owner frees the context, here, whatever happens below
    const std::unique_ptr<OVERLAPPED_PLUS> context{&context_of(static_cast<OVERLAPPED*>(argument))};

    const Finished finished = finish_read(*context);
    lab::print_line("foo : I/O Complete");
    lab::print_line("error : ", finished.error);
    lab::print_line("bytes : ", finished.bytes);
    if (finished.bytes > 0)
        lab::print_line("data : ", lab::hex(context->block().first(finished.bytes)));
    if (finished.error != ERROR_SUCCESS)
        lab::report("ReadFile", finished.error);
    return 0;
}

inline lab::Thread start_thread(unsigned(__stdcall* entry)(void*), OVERLAPPED* request) noexcept
{
    return lab::Thread{reinterpret_cast<HANDLE>(_beginthreadex(nullptr, 0, entry, request, 0, nullptr))};
}
