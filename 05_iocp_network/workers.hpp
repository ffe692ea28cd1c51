// Stage 5: a few threads on one completion port: how each takes packets, and how all of them end.
#pragma once

#include "lab.hpp"

#include <array>
#include <functional>
#include <span>
#include <system_error>
#include <thread>
#include <vector>

// Throws lab::Win32Error (F16).
inline lab::Port new_port()
{
    lab::Port port{CreateIoCompletionPort(INVALID_HANDLE_VALUE, nullptr, 0, 0)};
    if (!port)
        throw lab::Win32Error{"CreateIoCompletionPort", GetLastError()};
    return port;
}

// One worker's room for packets.
class Inbox {
public:
    explicit Inbox(HANDLE port) noexcept : port_(port) {}

    // Takes the packets that are there, up to 64, with ONE call: the busier the server, the more of them share its
    // cost. With none there it waits for one, at most timeout_ms long. N4: the key in a packet is pointer-sized.
    std::span<const OVERLAPPED_ENTRY> take(DWORD timeout_ms)
    {
        ULONG count = 0;
        if (GetQueuedCompletionStatusEx(port_, packets_.data(), most, &count, timeout_ms, FALSE)) {
            failed_before_ = false;
            return std::span(packets_).first(count);
        }
        const DWORD error = GetLastError();
        if (error != WAIT_TIMEOUT) { // the packets are still there; if it fails twice, out of reach
            if (std::exchange(failed_before_, true))
                lab::end_process("GetQueuedCompletionStatusEx", error);
            lab::report("GetQueuedCompletionStatusEx", error);
        }
        return {}; // N12: FALSE: no packet was taken, and what stands in count and packets_ says nothing
    }

private:
    static constexpr ULONG most = 64;

    HANDLE port_; // borrowed
    std::array<OVERLAPPED_ENTRY, most> packets_;
    bool failed_before_ = false;
};

// N33: as many threads as asked for, each checked, owned and joined.
class Workers {
public:
    explicit Workers(HANDLE port) noexcept : port_(port) {}

    // Each runs `work` to its end. When this throws, those already started run, and must be stopped.
    void start(std::size_t count, const std::function<void()>& work)
    {
        try {
            while (threads_.size() < count)
                threads_.emplace_back(work);
        } catch (const std::system_error&) { // it tells an errno, which is no Win32 code
            throw lab::Win32Error{"std::jthread", ERROR_MAX_THRDS_REACHED};
        }
    }

    // Queues ONE stop, a packet without a request, which the workers hand on. Had each its own, one worker's call could
    // take two of them, and another would wait for ever.
    void post_stop()
    {
        if (threads_.empty() || PostQueuedCompletionStatus(port_, 0, 0, nullptr))
            return;
        lab::report("PostQueuedCompletionStatus", GetLastError());
        if (!PostQueuedCompletionStatus(port_, 0, 0, nullptr))
            lab::end_process("PostQueuedCompletionStatus", GetLastError());
    }

    // For the worker that has taken the stop.
    void hand_stop_on()
    {
        if (++stopped_ < threads_.size())
            post_stop();
    }

    void join()
    {
        for (std::jthread& thread : threads_)
            thread.join();
    }

private:
    HANDLE port_; // borrowed
    std::atomic<std::size_t> stopped_ = 0;
    std::vector<std::jthread> threads_;
};
