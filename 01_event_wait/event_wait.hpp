// Stage 1, the mechanism: start one read, learn which of three things happened, wait, ask how it ended.
#pragma once

#include "lab.hpp"

// Where in the file a request reads. E15: the offset has 64 bits, in two halves; a file pointer plays no part.
inline void set_offset(OVERLAPPED& request, std::uint64_t offset) noexcept
{
    request.Offset = static_cast<DWORD>(offset);
    request.OffsetHigh = static_cast<DWORD>(offset >> 32);
}

enum class Outcome {
    completed, // done before ReadFile returned: the result is there, the event is set
    pending,   // the kernel has accepted the request and owns it until the event is set
    refused,   // it never became a request: nobody sets the event, there is nothing to wait for
};

struct Started {
    Outcome outcome;
    DWORD error; // why it was refused
};

// Asks for a read into `buffer`. The only place that interprets what ReadFile says.
// Unless refused, the kernel owns `request` and `buffer` from here until finish_read returns.
inline Started start_read(HANDLE file, std::span<std::byte> buffer, OVERLAPPED& request) noexcept
{
    // The byte count is null: with an OVERLAPPED it would be right only sometimes. finish_read asks for it.
    if (ReadFile(file, buffer.data(), static_cast<DWORD>(buffer.size()), nullptr, &request))
        return {Outcome::completed, ERROR_SUCCESS}; // E2: TRUE is the best case, not an error
    const DWORD error = GetLastError();             // E3: once, here, before any other call changes it
    if (error == ERROR_IO_PENDING)                  // E1: not a failure either, "you will hear of it"
        return {Outcome::pending, ERROR_SUCCESS};
    return {Outcome::refused, error};
}

struct Finished {
    DWORD error; // a Win32 code: 0, 38 end of file, 109 broken pipe, 995 cancelled ...
    DWORD bytes;
};

// Asks the kernel to give the request up. A request only: the completion still comes, and may even be a success.
inline void cancel_read(HANDLE file, OVERLAPPED& request)
{
    for (int attempt = 0; attempt < 2; ++attempt) {
        if (CancelIoEx(file, &request))
            return;
        const DWORD error = GetLastError();
        if (error == ERROR_NOT_FOUND) // not an error: it completed just before we asked
            return;
        lab::report("CancelIoEx", error);
    }
}

// Waits for the completion of a request that was not refused and returns how it ended.
// After timeout_ms it cancels the request. In every case the completion has been seen when this returns, so the
// request and its buffer are the caller's again.
inline Finished finish_read(HANDLE file, OVERLAPPED& request, DWORD timeout_ms)
{
    // E8: a bounded wait, whose result is looked at: a silent pipe would otherwise hold this thread for ever.
    const DWORD waited = WaitForSingleObject(request.hEvent, timeout_ms);
    if (waited == WAIT_FAILED)
        lab::report("WaitForSingleObject", GetLastError());
    if (waited != WAIT_OBJECT_0)
        cancel_read(file, request); // the kernel may still write into the buffer: returning now would be too early

    // E7: only this call knows how the read ended. TRUE = wait: after a cancel the completion is yet to come.
    DWORD bytes = 0;
    if (GetOverlappedResult(file, &request, &bytes, TRUE))
        return {ERROR_SUCCESS, bytes};
    const DWORD error = GetLastError();
    if (!HasOverlappedIoCompleted(&request)) // the wait in that call has failed: the kernel still has it
        lab::end_process("GetOverlappedResult", error);
    return {error, 0};
}
