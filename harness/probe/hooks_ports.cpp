// Completion ports.
#include "call.hpp"
#include "hooks.hpp"
#include "requests.hpp"
#include "unwanted_packets.hpp"

#include <algorithm>
#include <cstring>

namespace probe {

namespace {

struct Associates : FailsWithNull {
    static HANDLE closed(HANDLE file, HANDLE port, auto...) noexcept { return first_closed(file, port); }
    static void after(Facts&, const Call&, HANDLE result, HANDLE file, HANDLE port, ULONG_PTR key, DWORD) noexcept
    {
        if (result != nullptr && file != INVALID_HANDLE_VALUE)
            file_is_on_port(file, port != nullptr ? port : result, key);
    }
};

using CreatePortHook = Hook<"CreateIoCompletionPort", decltype(&CreateIoCompletionPort), Associates>;

struct Dequeues : FailsWithFalse {
    static void before(Facts& facts, HANDLE, DWORD*, ULONG_PTR*, OVERLAPPED** request, DWORD) noexcept
    {
        facts.behind("ov_before", request);
    }
    static HANDLE closed(HANDLE port, auto...) noexcept { return first_closed(port); }
    static void failing(HANDLE, DWORD*, ULONG_PTR*, OVERLAPPED** request, DWORD) noexcept
    {
        if (request != nullptr)
            *request = nullptr;
    }
    static BOOL make(const Call& call, auto real, HANDLE port, DWORD* bytes, ULONG_PTR* key, OVERLAPPED** request,
                     DWORD ms) noexcept
    {
        const DequeueUnderWay under_way(ms != 0);
        start_for_port(port, ms == 0);
        BOOL taken = FALSE;
        do {
            SetLastError(call.error_before);
            taken = real(port, bytes, key, request, ms);
        } while (taken && request != nullptr && is_unwanted(*request));
        if (request != nullptr && *request != nullptr)
            observe(*request);
        return taken;
    }
    static void after(Facts& facts, const Call&, BOOL taken, HANDLE, DWORD* bytes, ULONG_PTR* key, OVERLAPPED** request,
                      DWORD) noexcept
    {
        const bool packet = taken || (request != nullptr && *request != nullptr);
        if (packet)
            facts.behind("bytes", bytes).behind("key", key);
        facts.behind("ov", request);
    }
};

using DequeueHook = Hook<"GetQueuedCompletionStatus", decltype(&GetQueuedCompletionStatus), Dequeues>;

struct DequeuesMany : FailsWithFalse {
    static HANDLE closed(HANDLE port, auto...) noexcept { return first_closed(port); }
    static BOOL make(const Call& call, auto real, HANDLE port, OVERLAPPED_ENTRY* entries, ULONG room, ULONG* count,
                     DWORD ms, BOOL alertable) noexcept
    {
        const DequeueUnderWay under_way(ms != 0);
        start_for_port(port, ms == 0);
        BOOL taken = FALSE;
        do {
            SetLastError(call.error_before);
            taken = real(port, entries, room, count, ms, alertable);
            if (!taken)
                return taken;
            const auto* const end = std::remove_if(entries, entries + *count, [](const OVERLAPPED_ENTRY& entry) {
                return static_cast<LONG>(entry.Internal) >= 0 && is_unwanted(entry.lpOverlapped);
            });
            *count = static_cast<ULONG>(end - entries);
        } while (*count == 0);
        for (ULONG i = 0; i < *count; ++i)
            if (entries[i].lpOverlapped != nullptr)
                observe(entries[i].lpOverlapped);
        return taken;
    }
    static void after(Facts& facts, const Call&, BOOL taken, HANDLE, OVERLAPPED_ENTRY* entries, ULONG, ULONG* count,
                      DWORD, BOOL) noexcept
    {
        if (!taken)
            return;
        facts.behind("count", count);
        const auto numbered = [&](const char* name, ULONG i, std::uint64_t value) {
            facts.line().field().text(name).decimal(i).text("=").hex(value);
        };
        for (ULONG i = 0; i < *count; ++i) {
            numbered("key", i, entries[i].lpCompletionKey);
            numbered("ov", i, as_number(entries[i].lpOverlapped));
            numbered("status", i, entries[i].Internal);
            numbered("bytes", i, entries[i].dwNumberOfBytesTransferred);
        }
    }
};

using DequeueManyHook = Hook<"GetQueuedCompletionStatusEx", decltype(&GetQueuedCompletionStatusEx), DequeuesMany>;

struct Posts : FailsWithFalse {
    static HANDLE closed(HANDLE port, auto...) noexcept { return first_closed(port); }
};

using PostHook = Hook<"PostQueuedCompletionStatus", decltype(&PostQueuedCompletionStatus), Posts>;

struct SetsModes : FailsWithFalse {
    static HANDLE closed(HANDLE file, auto...) noexcept { return first_closed(file); }
    static void after(Facts&, const Call&, BOOL done, HANDLE file, UCHAR modes) noexcept
    {
        if (done && (modes & FILE_SKIP_COMPLETION_PORT_ON_SUCCESS) != 0)
            file_skips_packets(file);
    }
};

using SetModesHook =
    Hook<"SetFileCompletionNotificationModes", decltype(&SetFileCompletionNotificationModes), SetsModes>;

} // namespace

void install_ports() noexcept
{
    CreatePortHook::install();
    DequeueHook::install();
    DequeueManyHook::install();
    PostHook::install();
    SetModesHook::install();
}

} // namespace probe
