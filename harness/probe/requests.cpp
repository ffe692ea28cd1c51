#include "requests.hpp"

#include "files_on_ports.hpp"
#include "statuses.hpp"
#include "threads.hpp"
#include "unwanted_packets.hpp"

#include <utility>

namespace probe {

namespace {

struct Request {
    Request* next; // the pool's
    Request* in_bucket;
    Request* older;
    Request* newer;
    std::uint64_t sequence;
    Submit submit;
    HANDLE event;
    DWORD thread;
    FileOnPort file;
    Thread* request_stack; // whose stack it lies on; null: none's
    Thread* buffer_stack;
    bool told;    // that its frame is gone
    bool put_off; // the real call is still to be made
    int looks;
    Attempt later;
};

constexpr std::size_t buckets = 1024;
constinit SRWLOCK lock = SRWLOCK_INIT;
constinit Pool<Request> pool{};
constinit Request* by_address[buckets]{};
constinit Request* newest = nullptr;
constinit std::atomic<int> put_off_count{0};
constinit std::atomic<int> dequeues_under_way{0};

Request*& bucket_of(const OVERLAPPED* request) noexcept
{
    return by_address[reinterpret_cast<std::uintptr_t>(request) / 16 % buckets];
}

HANDLE event_of(const OVERLAPPED* request) noexcept
{
    return reinterpret_cast<HANDLE>(reinterpret_cast<std::uintptr_t>(request->hEvent) & ~std::uintptr_t{1});
}

// The low bit of hEvent says so.
bool keeps_packet_away(const OVERLAPPED* request) noexcept
{
    return (reinterpret_cast<std::uintptr_t>(request->hEvent) & 1U) != 0;
}

void remove(Request** at) noexcept
{
    Request* const gone = *at;
    *at = gone->in_bucket;
    (gone->newer != nullptr ? gone->newer->older : newest) = gone->older;
    if (gone->older != nullptr)
        gone->older->newer = gone->newer;
    if (gone->request_stack != nullptr)
        --gone->request_stack->on_stack;
    if (gone->buffer_stack != nullptr)
        --gone->buffer_stack->on_stack;
    if (gone->put_off)
        --put_off_count;
    pool.give_back(gone);
}

// Taken down before the real call: its packet may be dequeued before the call returns.
void begin(std::uint64_t sequence, const Submit& submit) noexcept
{
    FileOnPort file = port_of(submit.file);
    if (keeps_packet_away(submit.request))
        file.port = nullptr;
    const Lock guard(lock);
    Request* const fresh = pool.take();
    if (fresh == nullptr)
        return;
    Request*& bucket = bucket_of(submit.request);
    *fresh = {};
    fresh->in_bucket = bucket;
    fresh->older = newest;
    fresh->sequence = sequence;
    fresh->submit = submit;
    fresh->event = event_of(submit.request);
    fresh->thread = GetCurrentThreadId();
    fresh->file = file;
    fresh->request_stack = thread_with_stack_at(reinterpret_cast<std::uintptr_t>(submit.request));
    fresh->buffer_stack = thread_with_stack_at(reinterpret_cast<std::uintptr_t>(submit.buffer));
    if (fresh->request_stack != nullptr)
        ++fresh->request_stack->on_stack;
    if (fresh->buffer_stack != nullptr)
        ++fresh->buffer_stack->on_stack;
    if (newest != nullptr)
        newest->newer = fresh;
    newest = fresh;
    bucket = fresh;
}

Request** find(const OVERLAPPED* address, std::uint64_t sequence) noexcept
{
    for (Request** at = &bucket_of(address); *at != nullptr; at = &(*at)->in_bucket)
        if ((*at)->submit.request == address && (sequence == 0 || (*at)->sequence == sequence))
            return at;
    return nullptr;
}

bool is_in_flight(const OVERLAPPED* address, std::uint64_t sequence) noexcept
{
    const Lock guard(lock);
    return find(address, sequence) != nullptr;
}

void forget(const OVERLAPPED* address, std::uint64_t sequence) noexcept
{
    const Lock guard(lock);
    if (Request** const at = find(address, sequence))
        remove(at);
}

// Ends a request that the kernel does not have, the way the kernel would.
void complete(OVERLAPPED* request, HANDLE event, const FileOnPort& file, DWORD code) noexcept
{
    const LONG status = status_of(code);
    request->InternalHigh = 0;
    request->Internal = static_cast<ULONG>(status);
    if (event != nullptr)
        os().set_event(event);
    if (file.port != nullptr)
        os().set_io_completion(file.port, file.key, reinterpret_cast<ULONG_PTR>(request), status, 0);
}

void look_pending(const Submit& submit) noexcept
{
    submit.request->InternalHigh = 0;
    submit.request->Internal = static_cast<ULONG>(STATUS_PENDING);
    if (const HANDLE event = event_of(submit.request))
        os().reset_event(event);
}

// Makes the calls put off that `wanted` names. One at a time, without the lock: they take as long as they take.
template <typename Wanted>
void start(const Wanted& wanted, bool only_looks) noexcept
{
    while (put_off_count.load() != 0) {
        Attempt attempt;
        Submit submit{};
        HANDLE event = nullptr;
        FileOnPort file;
        {
            const Lock guard(lock);
            Request* request = newest;
            while (request != nullptr &&
                   !(request->put_off && wanted(*request) && (!only_looks || request->looks++ > 0)))
                request = request->older;
            if (request == nullptr)
                return;
            request->put_off = false;
            --put_off_count;
            attempt = request->later;
            submit = request->submit;
            event = request->event;
            file = request->file;
        }
        const DWORD error = attempt();
        if (error != ERROR_SUCCESS && error != ERROR_IO_PENDING && error != ERROR_MORE_DATA)
            complete(submit.request, event, file, error); // the program was told that it had been accepted
        else if (error == ERROR_SUCCESS && file.skips && file.port != nullptr) // ... and waits for a packet
            os().set_io_completion(file.port, file.key, reinterpret_cast<ULONG_PTR>(submit.request), 0,
                                   submit.request->InternalHigh);
    }
}

struct Timer {
    std::uint64_t sequence;
    DWORD ms;
};

DWORD WINAPI start_after(void* argument) noexcept
{
    const Timer timer = *static_cast<Timer*>(argument);
    os().heap_free(GetProcessHeap(), 0, argument);
    os().sleep(timer.ms);
    start([&](const Request& request) { return request.sequence == timer.sequence; }, false);
    os().sleep(INFINITE); // a thread that ends takes its requests along
    return 0;
}

void put_off(std::uint64_t sequence, const Submit& submit, const Attempt& later, const Injection& injection) noexcept
{
    look_pending(submit);
    {
        const Lock guard(lock);
        Request** const at = find(submit.request, sequence);
        if (at == nullptr)
            return;
        (*at)->later = later;
        (*at)->put_off = true;
        ++put_off_count;
    }
    if (injection.action != Action::pend_ms) {
        if (dequeues_under_way.load() != 0 && port_of(submit.file).port != nullptr) // somebody waits already
            start([&](const Request& request) { return request.sequence == sequence; }, false);
        return;
    }
    auto* const timer = static_cast<Timer*>(os().heap_alloc(GetProcessHeap(), 0, sizeof(Timer)));
    *timer = {sequence, injection.number};
    if (const HANDLE thread = os().create_thread(nullptr, 0, &start_after, timer, 0, nullptr))
        os().close_handle(thread);
}

// Waits until the kernel is done with it. Looks again and again, since no event and no packet may be used up here.
DWORD wait_until_done(std::uint64_t sequence, const Submit& submit, bool skips) noexcept
{
    const volatile ULONG_PTR& status = submit.request->Internal;
    while (is_in_flight(submit.request, sequence) && status == static_cast<ULONG>(STATUS_PENDING))
        os().sleep(1);
    const auto came =
        static_cast<LONG>(status); // before the look: it is this request's only if that is in flight still
    if (!is_in_flight(submit.request, sequence)) // somebody has seen its end already: in skip mode, that it failed
        return skips ? ERROR_IO_PENDING : ERROR_SUCCESS;
    if (came < 0)
        return ERROR_IO_PENDING; // it failed: that comes with the completion
    if (const HANDLE event = event_of(submit.request)) {
        os().wait_for_single_object(event, INFINITE);
        os().set_event(event);
    }
    return ERROR_SUCCESS;
}

void settle(std::uint64_t sequence, const Submit& submit, DWORD error) noexcept
{
    const KeepLastError keep;
    const Lock guard(lock);
    Request** const at = find(submit.request, sequence);
    if (at == nullptr)
        return;
    const FileOnPort& file = (*at)->file;
    const bool accepted = error == ERROR_SUCCESS || error == ERROR_IO_PENDING || error == ERROR_MORE_DATA;
    if (!accepted || (error == ERROR_SUCCESS && (file.port == nullptr || file.skips)))
        remove(at);
}

} // namespace

DWORD submit(const Call& call, const Submit& submit, Attempt now, const Attempt& later) noexcept
{
    const Injection& injection = call.injection;
    begin(call.sequence, submit);
    DWORD error = ERROR_IO_PENDING;
    switch (injection.action) {
    case Action::pend:
    case Action::pend_ms:
        put_off(call.sequence, submit, later, injection);
        break;
    case Action::fail_completion: {
        look_pending(submit);
        FileOnPort file = port_of(submit.file);
        if (keeps_packet_away(submit.request))
            file.port = nullptr;
        complete(submit.request, event_of(submit.request), file, injection.number);
        break;
    }
    case Action::complete: {
        const bool skips = port_of(submit.file).skips && !keeps_packet_away(submit.request);
        if (skips)
            expect_unwanted_packet(submit.request); // before the call: a worker may be faster than its return
        SetLastError(call.error_before);
        error = now();
        const bool queues_packet = error == ERROR_IO_PENDING;
        if (queues_packet)
            error = wait_until_done(call.sequence, submit, skips);
        if (skips && !(queues_packet && error == ERROR_SUCCESS))
            static_cast<void>(is_unwanted(submit.request)); // it sends none, or one that tells of a failure
        SetLastError(error == ERROR_SUCCESS ? call.error_before : error);
        break;
    }
    default:
        SetLastError(call.error_before);
        error = now();
    }
    settle(call.sequence, submit, error);
    return error;
}

void observe(const OVERLAPPED* request) noexcept
{
    forget(request, 0);
}

void observe_event(HANDLE event_or_file) noexcept
{
    const KeepLastError keep;
    const Lock guard(lock);
    for (Request* request = newest; request != nullptr;) {
        Request* const older = request->older;
        if ((request->event != nullptr ? request->event : request->submit.file) == event_or_file)
            remove(find(request->submit.request, request->sequence));
        request = older;
    }
}

void start_for_object(HANDLE object, bool only_looks) noexcept
{
    start(
        [&](const Request& request) {
            return (request.event != nullptr ? request.event : request.submit.file) == object;
        },
        only_looks);
}

void start_for_request(const OVERLAPPED* address, bool only_looks) noexcept
{
    start([&](const Request& request) { return request.submit.request == address; }, only_looks);
}

void start_for_port(HANDLE port, bool only_looks) noexcept
{
    start([&](const Request& request) { return request.file.port == port; }, only_looks);
}

DequeueUnderWay::DequeueUnderWay(bool waits) noexcept : waits_(waits)
{
    if (waits_)
        ++dequeues_under_way;
}

DequeueUnderWay::~DequeueUnderWay()
{
    if (waits_)
        --dequeues_under_way;
}

int cancel_put_off(HANDLE file, const OVERLAPPED* address, bool own) noexcept
{
    for (int cancelled = 0;; ++cancelled) {
        Submit submit{};
        HANDLE event = nullptr;
        FileOnPort on_port;
        {
            const Lock guard(lock);
            Request* request = newest;
            while (request != nullptr && !(request->put_off && request->submit.file == file &&
                                           (address == nullptr || request->submit.request == address) &&
                                           (!own || request->thread == GetCurrentThreadId())))
                request = request->older;
            if (request == nullptr)
                return cancelled;
            request->put_off = false;
            --put_off_count;
            submit = request->submit;
            event = request->event;
            on_port = request->file;
        }
        complete(submit.request, event, on_port, ERROR_OPERATION_ABORTED);
    }
}

static void tell_left(const char* stack, bool stack_goes) noexcept
{
    Thread& thread = this_thread();
    if (thread.on_stack.load() == 0)
        return;
    const KeepLastError keep;
    const Lock guard(lock);
    for (Request* request = newest; request != nullptr; request = request->older) {
        const bool request_gone =
            request->request_stack == &thread && as_number(request->submit.request) < as_number(stack);
        const bool buffer_gone =
            request->buffer_stack == &thread && as_number(request->submit.buffer) < as_number(stack);
        if ((request_gone || buffer_gone) && !std::exchange(request->told, true)) {
            Line line = begin_line("note", next_sequence());
            line.field().text("frame-left").field().text("ov=").hex(as_number(request->submit.request));
            write(line);
        }
        if (!stack_goes)
            continue;
        if (request->request_stack == &thread)
            request->request_stack = nullptr;
        if (request->buffer_stack == &thread)
            request->buffer_stack = nullptr;
    }
}

void tell_frames_left(const char* stack) noexcept
{
    tell_left(stack, false);
}

void tell_stack_left() noexcept
{
    tell_left(reinterpret_cast<const char*>(this_thread().high), true);
}

} // namespace probe
