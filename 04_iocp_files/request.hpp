// Stage 4: which blocks there are to read, and the request that reads them.
#pragma once

#include "lab.hpp"

#include <memory>
#include <mutex>
#include <vector>

// A file on the port, and how much of it is to be read.
struct Source {
    HANDLE file; // borrowed from main; its packets carry the key it was associated with
    ULONG_PTR key;
    std::uint64_t blocks;
};

// Adjacent blocks of one file, which one request may read together.
struct Run {
    const Source* source = nullptr;
    std::uint64_t first_block = 0; // in the file, from 0
    std::uint64_t first_id = 0;    // of all blocks of all sources, from 1
    std::uint64_t blocks = 0;      // 0: there is none

    // Takes the first blocks off it.
    Run take(std::uint64_t count) noexcept
    {
        const Run taken{source, first_block, first_id, count};
        first_block += count;
        first_id += count;
        blocks -= count;
        return taken;
    }
};

// Gives out every block of every source once, in order, to any number of workers.
class Blocks {
public:
    explicit Blocks(std::vector<Source> sources) : sources_(std::move(sources)), next_source_(sources_.begin())
    {
        for (const Source& source : sources_)
            total_ += source.blocks;
    }

    std::uint64_t total() const noexcept { return total_; }

    // At most so many; none if all were given out.
    Run next(std::uint64_t most)
    {
        const std::lock_guard lock(mutex_);
        while (rest_.blocks == 0 && next_source_ != sources_.end()) {
            rest_ = {&*next_source_, 0, rest_.first_id == 0 ? 1 : rest_.first_id, next_source_->blocks};
            ++next_source_;
        }
        return rest_.take(std::min(most, rest_.blocks));
    }

private:
    std::vector<Source> sources_;
    std::uint64_t total_ = 0;
    std::mutex mutex_;
    std::vector<Source>::const_iterator next_source_;
    Run rest_; // of the source before it
};

// F6: no event: the packet is the notification. F15: the buffer's owner knows it is an array.
struct Request : OVERLAPPED {
    explicit Request(std::size_t bytes) : OVERLAPPED{}, buffer(std::make_unique<std::byte[]>(bytes)) {}

    Run run;  // what it reads
    Run rest; // what it is to read next, block by block
    std::unique_ptr<std::byte[]> buffer;
};

// Hands the request to the kernel. ERROR_SUCCESS: accepted, and a packet will come, be it done already or pending;
// the request must not be touched any more, for another worker may have freed it by now. Else: refused, no packet.
inline DWORD submit(Request& request, std::uint64_t offset, DWORD bytes) noexcept
{
    static_cast<OVERLAPPED&>(request) = OVERLAPPED{}; // zeroed for every use
    request.Offset = static_cast<DWORD>(offset);
    request.OffsetHigh = static_cast<DWORD>(offset >> 32);
    if (ReadFile(request.run.source->file, request.buffer.get(), bytes, nullptr, &request))
        return ERROR_SUCCESS;
    const DWORD error = GetLastError();
    return error == ERROR_IO_PENDING ? ERROR_SUCCESS : error;
}
