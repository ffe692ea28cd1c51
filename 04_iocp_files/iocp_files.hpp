// Stage 4, the answer: many reads in flight, one completion port, a few workers that take whatever is ready.
#pragma once

#include "lab.hpp"

#include <memory>
#include <system_error>
#include <thread>
#include <vector>

// What one call of GetQueuedCompletionStatus has brought.
struct Packet {
    enum Kind {
        completed, // TRUE  and an OVERLAPPED: that request is done
        failed,    // FALSE and an OVERLAPPED: that request failed, and it alone; its packet was taken all the same
        stop,      // TRUE  and none: somebody posted it; here it means "no more work"
        nothing,   // FALSE and none: no packet was taken: a timeout, or the port itself has failed
    } kind;
    ULONG_PTR key;
    DWORD bytes;
    OVERLAPPED* request;
    DWORD error;
};

inline Packet dequeue(HANDLE port, DWORD timeout_ms) noexcept
{
    DWORD bytes = 0;
    ULONG_PTR key = 0;             // F10: eight bytes; with a DWORD its neighbour is overwritten
    OVERLAPPED* request = nullptr; // F11: what the call knows is an OVERLAPPED; F20: fresh, so FALSE leaves no old one
    const BOOL taken = GetQueuedCompletionStatus(port, &bytes, &key, &request, timeout_ms);
    const DWORD error = taken ? ERROR_SUCCESS : GetLastError(); // F21: why, before any other call
    if (request != nullptr)
        return {taken ? Packet::completed : Packet::failed, key, bytes, request, error};
    return {taken ? Packet::stop : Packet::nothing, key, bytes, nullptr, error}; // F13: never look into a null
}

// A file on the port, and how much of it is to be read.
struct Source {
    HANDLE file; // borrowed from main; its packets carry the key it was associated with
    ULONG_PTR key;
    std::uint64_t blocks;
    std::uint64_t last_id = 0; // of its blocks, when all blocks of all sources are counted through from 1
};

// F6: no event: the packet is the notification. F15: the buffer's owner knows it is an array.
struct Request : OVERLAPPED {
    explicit Request(DWORD block_bytes) : OVERLAPPED{}, buffer(std::make_unique<std::byte[]>(block_bytes)) {}

    const Source* source = nullptr;
    std::uint64_t id = 0;
    std::unique_ptr<std::byte[]> buffer;
};

// Hands the request to the kernel. ERROR_SUCCESS: accepted, and a packet will come, be it done already or pending;
// the request must not be touched any more, for another worker may have freed it by now. Else: refused, no packet.
inline DWORD submit(Request& request, std::uint64_t offset, DWORD bytes) noexcept
{
    static_cast<OVERLAPPED&>(request) = OVERLAPPED{}; // zeroed for every use
    request.Offset = static_cast<DWORD>(offset);
    request.OffsetHigh = static_cast<DWORD>(offset >> 32);
    if (ReadFile(request.source->file, request.buffer.get(), bytes, nullptr, &request))
        return ERROR_SUCCESS;
    const DWORD error = GetLastError();
    return error == ERROR_IO_PENDING ? ERROR_SUCCESS : error;
}

// Reads every block of every source with at most `depth` requests in flight, and prints a line for each.
class Reader {
public:
    // Borrows the port, and the sources' files, which are on it already.
    Reader(HANDLE port, std::vector<Source> sources, DWORD block_bytes)
        : port_(port), sources_(std::move(sources)), block_bytes_(block_bytes)
    {
        for (Source& source : sources_)
            source.last_id = total_ += source.blocks;
    }

    // Returns when every read is done and every worker has ended. Throws only before the first read.
    void run(std::size_t depth, std::size_t threads)
    {
        std::vector<std::unique_ptr<Request>> requests(std::min<std::uint64_t>(depth, total_));
        for (auto& request : requests)
            request = std::make_unique<Request>(block_bytes_);
        start_workers(threads);
        // F7: counted are the requests there really are, not the reads hoped for. One share more is main's own: with
        // nothing to read at all, somebody must still give back the last one.
        shares_ = 1 + requests.size();
        for (auto& request : requests)
            start_next(std::move(request));
        lab::print_line("Main Continue ..");
        release_share();

        for (std::jthread& worker : workers_)
            worker.join();
        lab::print_line("done : ", total_, " reads, ", bytes_, " bytes, ", failed_, " failed");
    }

private:
    // F25: a jthread is checked (it throws), owned, and joined when its owner goes.
    void start_workers(std::size_t count)
    {
        try {
            while (workers_.size() < count)
                workers_.emplace_back([this] { work(); });
        } catch (const std::system_error& error) {
            post_stops();
            throw lab::Win32Error{"std::jthread", static_cast<DWORD>(error.code().value())};
        }
    }

    // F12: the loop goes on after a failed request, and ends at a stop only.
    void work()
    {
        for (bool failed_before = false;;) {
            const Packet packet = dequeue(port_, INFINITE);
            if (packet.kind == Packet::stop)
                return;
            if (packet.kind == Packet::nothing) { // the packets are still in the port; twice over, out of reach
                if (failed_before)
                    lab::end_process("GetQueuedCompletionStatus", packet.error);
                lab::report("GetQueuedCompletionStatus", packet.error);
            } else {
                std::unique_ptr<Request> request{static_cast<Request*>(packet.request)}; // handed back: ours again
                if (packet.kind == Packet::completed)
                    completed(packet, *request);
                else
                    failed(*request, packet.error);
                start_next(std::move(request));
            }
            failed_before = packet.kind == Packet::nothing;
        }
    }

    // Uses the request for the next block. When there is none left it is freed, and its share given back.
    void start_next(std::unique_ptr<Request> request)
    {
        for (std::uint64_t id; (id = ++asked_) <= total_;) {
            const Source& source = *std::ranges::lower_bound(sources_, id, {}, &Source::last_id);
            const std::uint64_t block = id + source.blocks - source.last_id - 1;
            request->source = &source;
            request->id = id;
            Request* const kernels = request.release(); // given away before the call: a worker may be faster than us
            const DWORD error = submit(*kernels, block * block_bytes_, block_bytes_);
            if (error == ERROR_SUCCESS)
                return;
            request.reset(kernels); // F22: no packet will ever bring it back: it is ours again, here and now
            lab::report("ReadFile", error);
            failed(*request, error);
        }
        request.reset(); // before the share: after it, main may be on its way out
        release_share();
    }

    // F19: count to zero: whoever gives back the last share knows that no packet can come any more.
    void release_share()
    {
        if (--shares_ == 0)
            post_stops();
    }

    // One stop per worker: each takes one and ends.
    void post_stops()
    {
        for (std::size_t i = 0; i < workers_.size(); ++i) {
            if (PostQueuedCompletionStatus(port_, 0, 0, nullptr))
                continue;
            lab::report("PostQueuedCompletionStatus", GetLastError());
            if (!PostQueuedCompletionStatus(port_, 0, 0, nullptr))
                lab::end_process("PostQueuedCompletionStatus", GetLastError()); // that worker would wait for ever
        }
    }

    // F14, F24: every value by its own type, every line with one write: two workers never print through each other.
    void completed(const Packet& packet, const Request& request)
    {
        bytes_ += packet.bytes;
        lab::print_line("COMPLETE : ", packet.key, ", ", request.id, ", ", packet.bytes, " : ",
                        lab::hex({request.buffer.get(), static_cast<std::size_t>(packet.bytes)}));
    }

    // F23: the end of the file is this one read's outcome, no reason to stop.
    void failed(const Request& request, DWORD error)
    {
        ++failed_;
        lab::something_failed = true;
        lab::print_line("FAILED : ", request.source->key, ", ", request.id, ", ", error, " : ",
                        lab::system_text(error));
    }

    HANDLE port_;
    std::vector<Source> sources_;
    DWORD block_bytes_;
    std::uint64_t total_ = 0;
    std::atomic<std::uint64_t> asked_ = 0;
    std::atomic<std::uint64_t> shares_ = 0; // one per request that is not freed yet, and one of main's
    std::atomic<std::uint64_t> bytes_ = 0;
    std::atomic<std::uint64_t> failed_ = 0;
    std::vector<std::jthread> workers_; // last: joined before anything above goes
};
