// Stage 4, the answer: many reads in flight, one completion port, a few workers that take whatever is ready.
#pragma once

#include "request.hpp"

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

// Reads every block of every source with at most `depth` requests in flight, and prints a line for each block.
class Reader {
public:
    // Borrows the port, and the sources' files, which are on it already. `in_runs`: a request may read several adjacent
    // blocks, whose fixed cost is then paid once.
    Reader(HANDLE port, std::vector<Source> sources, DWORD block_bytes, bool in_runs = false)
        : port_(port), blocks_(std::move(sources)), block_bytes_(block_bytes), in_runs_(in_runs)
    {
    }

    // Returns when every read is done and every worker has ended. Throws only before the first read.
    void run(std::size_t depth, std::size_t threads)
    {
        run_blocks_ = in_runs_ ? blocks_of_a_run(threads) : 1;
        const std::uint64_t run_bytes = run_blocks_ * block_bytes_;
        const std::uint64_t most_requests = run_blocks_ > 1 ? 4 * most_run_bytes / run_bytes : depth; // bounds memory
        std::vector<std::unique_ptr<Request>> requests(
            std::min({std::uint64_t{depth}, most_requests, blocks_.total()}));
        for (auto& request : requests)
            request = std::make_unique<Request>(run_bytes);
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
        lab::print_line("done : ", blocks_.total(), " reads, ", bytes_, " bytes, ", failed_, " failed");
    }

private:
    static constexpr std::uint64_t most_run_bytes = 1 << 20;

    // As many as fit, but few enough that there are some runs for every worker.
    std::uint64_t blocks_of_a_run(std::size_t threads) const
    {
        const std::uint64_t most = std::max<std::uint64_t>(most_run_bytes / block_bytes_, 1);
        return std::clamp<std::uint64_t>(blocks_.total() / (4 * threads), 1, most);
    }

    // F25: a jthread is checked (it throws), owned, and joined when its owner goes. So those that run already are sent
    // home before an exception leaves. What it throws tells an errno, which is no Win32 code.
    void start_workers(std::size_t count)
    {
        try {
            while (workers_.size() < count)
                workers_.emplace_back([this] { work(); });
        } catch (const std::system_error&) {
            post_stops();
            throw lab::Win32Error{"std::jthread", ERROR_MAX_THRDS_REACHED};
        } catch (...) {
            post_stops();
            throw;
        }
    }

    // F12: the loop goes on after a failed request, and ends at a stop only.
    void work()
    {
        for (bool failed_before = false;;) {
            const Packet packet = dequeue(port_, INFINITE);
            if (packet.kind == Packet::stop)
                return;
            if (packet.kind == Packet::nothing) { // the packets are still there; if it fails twice, out of reach
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

    // Uses the request for the next run. When there is none left it is freed, and its share given back. noexcept: out
    // of memory ends the process: workers wait for packets, and nobody would send them home.
    void start_next(std::unique_ptr<Request> request) noexcept
    {
        for (;;) {
            request->run = request->rest.blocks > 0 ? request->rest.take(1) : blocks_.next(run_blocks_);
            if (request->run.blocks == 0)
                break;
            const std::uint64_t offset = request->run.first_block * block_bytes_;
            const auto bytes = static_cast<DWORD>(request->run.blocks * block_bytes_);
            Request* const kernels = request.release(); // given away before the call: a worker may be faster than us
            const DWORD error = submit(*kernels, offset, bytes);
            if (error == ERROR_SUCCESS)
                return;
            request.reset(kernels); // F22: no packet will ever bring it back: it is ours again, here and now
            lab::report("ReadFile", error);
            failed(*request, error);
        }
        request.reset(); // before its share: no share left means no request left
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
    void completed(const Packet& packet, Request& request)
    {
        bytes_ += packet.bytes;
        std::span<const std::byte> data{request.buffer.get(), static_cast<std::size_t>(packet.bytes)};
        do { // a run that ends early has reached the end of the file: what it has not brought is asked for by itself
            const auto block = data.first(std::min<std::size_t>(data.size(), block_bytes_));
            const Run one = request.run.take(1);
            lab::print_line("COMPLETE : ", packet.key, ", ", one.first_id, ", ", block.size(), " : ", lab::hex(block));
            data = data.subspan(block.size());
        } while (!data.empty());
        if (request.run.blocks > 0)
            request.rest = request.run;
    }

    // F23: the end of the file is this one read's outcome, no reason to stop. Of a run nobody knows which block it was:
    // each is asked for again by itself.
    void failed(Request& request, DWORD error)
    {
        if (request.run.blocks > 1) {
            request.rest = request.run;
            return;
        }
        ++failed_;
        lab::something_failed = true;
        lab::print_line("FAILED : ", request.run.source->key, ", ", request.run.first_id, ", ", error, " : ",
                        lab::system_text(error));
    }

    HANDLE port_;
    Blocks blocks_;
    DWORD block_bytes_;
    bool in_runs_;
    std::uint64_t run_blocks_ = 1;          // how many blocks one request reads at most
    std::atomic<std::uint64_t> shares_ = 0; // one per request that is not freed yet, and one of main's
    std::atomic<std::uint64_t> bytes_ = 0;
    std::atomic<std::uint64_t> failed_ = 0;
    std::vector<std::jthread> workers_; // last: joined before anything above goes
};
