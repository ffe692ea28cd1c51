// Stage 4, the problem: four reads at once, each with an event of its own, and one thread that must wait for them all.
#pragma once

#include "lab.hpp"

#include <memory>

inline constexpr DWORD block_size = 4096;

// F5: a constructor that wipes *this with memset wipes the owners as well; each member starts itself instead.
struct OVERLAPPED_PLUS : OVERLAPPED {
    OVERLAPPED_PLUS(HANDLE file_to_read, std::uint64_t offset, int number)
        : OVERLAPPED{}, id(number), file(file_to_read)
    {
        hEvent = done.get();
        Offset = static_cast<DWORD>(offset); // F1: the offset is stored, or every read would bring block 0
        OffsetHigh = static_cast<DWORD>(offset >> 32);
    }

    int id;
    HANDLE file; // borrowed: two requests share each file
    std::unique_ptr<std::byte[]> buffer = std::make_unique<std::byte[]>(block_size);
    lab::Event done{CreateEventW(nullptr, TRUE, FALSE, nullptr)}; // last: the caller asks for its error
};

struct Started {
    std::unique_ptr<OVERLAPPED_PLUS> request; // done or pending: the caller keeps it until it completes
    const char* call = nullptr;               // if there is none: which call refused it
    DWORD error = ERROR_SUCCESS;              // ... and why
};

// Asks for one block. F2: 64 bits of offset: an int stops at 2 GiB. F3: the caller learns which of the outcomes it was.
// noexcept: out of memory ends the process here. An exception would free the requests before this one, which the kernel
// still owns.
inline Started Read4kAsync(HANDLE file, std::uint64_t offset, int id) noexcept
{
    auto request = std::make_unique<OVERLAPPED_PLUS>(file, offset, id);
    if (!request->done)
        return {nullptr, "CreateEvent", GetLastError()};
    if (!ReadFile(file, request->buffer.get(), block_size, nullptr, request.get())) {
        const DWORD error = GetLastError();
        if (error != ERROR_IO_PENDING)
            return {nullptr, "ReadFile", error}; // never a request: nobody will complete it, its owner frees it here
    }
    return {std::move(request)}; // F4: not forgotten: who holds this can wait for it and free it
}
