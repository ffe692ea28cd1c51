// Stage 1 with WaitForMultipleObjects as the wait: for the read's event, or for a waitable timer that means "too late".
//
// Why it is correct: the array says who won. Only if it was the event is the read known to be over; in every other case
// (the timer, a failed wait) it is cancelled, and GetOverlappedResult with wait sees its completion. The request is an
// object on the heap whose destructor runs after that.
#define NOMINMAX
#include <windows.h>

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

static bool all_well = true;

static void report(const char* call, DWORD code)
{
    all_well = false;
    char* text = nullptr;
    FormatMessageA(FORMAT_MESSAGE_ALLOCATE_BUFFER | FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS |
                       FORMAT_MESSAGE_MAX_WIDTH_MASK,
                   nullptr, code, MAKELANGID(LANG_ENGLISH, SUBLANG_DEFAULT), reinterpret_cast<char*>(&text), 0,
                   nullptr);
    std::fprintf(stderr, "error : %s : %lu : %s\n", call, code, text != nullptr ? text : "unknown");
    LocalFree(text);
}

class Handle {
public:
    explicit Handle(HANDLE handle) : handle_(handle == INVALID_HANDLE_VALUE ? nullptr : handle) {}
    ~Handle()
    {
        if (handle_ != nullptr)
            CloseHandle(handle_);
    }
    Handle(const Handle&) = delete;
    Handle& operator=(const Handle&) = delete;
    operator HANDLE() const { return handle_; }
    bool missing(const char* call) const // reports it, too
    {
        if (handle_ == nullptr)
            report(call, GetLastError());
        return handle_ == nullptr;
    }

private:
    HANDLE handle_;
};

struct Read {
    explicit Read(HANDLE event, std::uint64_t offset)
    {
        ULARGE_INTEGER position;
        position.QuadPart = offset;
        overlapped.Offset = position.LowPart;
        overlapped.OffsetHigh = position.HighPart;
        overlapped.hEvent = event;
    }
    OVERLAPPED overlapped{};
    std::vector<std::uint8_t> data = std::vector<std::uint8_t>(4096);
};

// True if the timer is armed. A relative due time counts in steps of 100 ns, downwards.
static bool arm(HANDLE timer, DWORD timeout_ms)
{
    LARGE_INTEGER due;
    due.QuadPart = -static_cast<LONGLONG>(timeout_ms) * 10'000;
    if (timeout_ms == INFINITE || SetWaitableTimer(timer, &due, 0, nullptr, nullptr, FALSE))
        return true;
    report("SetWaitableTimer", GetLastError());
    return false;
}

static void give_up(HANDLE file, Read& read)
{
    for (int attempt = 1; attempt <= 2; ++attempt) {
        if (CancelIoEx(file, &read.overlapped) || GetLastError() == ERROR_NOT_FOUND)
            return;
        report("CancelIoEx", GetLastError());
    }
}

static void read_block(const wchar_t* path, std::uint64_t offset, DWORD timeout_ms)
{
    const Handle file(
        CreateFileW(path, GENERIC_READ, FILE_SHARE_READ, nullptr, OPEN_EXISTING, FILE_FLAG_OVERLAPPED, nullptr));
    if (file.missing("CreateFile"))
        return;
    const Handle event(CreateEventW(nullptr, TRUE, FALSE, nullptr));
    if (event.missing("CreateEvent"))
        return;
    const Handle timer(CreateWaitableTimerW(nullptr, TRUE, nullptr));
    if (timer.missing("CreateWaitableTimer"))
        return;
    const auto read = std::make_unique<Read>(event, offset);
    if (!arm(timer, timeout_ms))
        return;

    const BOOL done = ReadFile(file, read->data.data(), 4096, nullptr, &read->overlapped);
    if (!done && GetLastError() != ERROR_IO_PENDING)
        return report("ReadFile", GetLastError());
    std::puts(done ? "main : completed at once" : "main : pending");
    std::fflush(stdout);

    const HANDLE either[] = {event, timer};
    const DWORD first = WaitForMultipleObjects(2, either, FALSE, INFINITE);
    if (first == WAIT_FAILED)
        report("WaitForMultipleObjects", GetLastError());
    if (first != WAIT_OBJECT_0)
        give_up(file, *read);
    DWORD bytes = 0;
    DWORD error = ERROR_SUCCESS;
    if (!GetOverlappedResult(file, &read->overlapped, &bytes, TRUE)) {
        error = GetLastError();
        bytes = 0;
        all_well = false;
    }

    std::printf("main : I/O Complete\nerror : %lu\nbytes : %lu\n", error, bytes);
    for (DWORD i = 0; i < bytes && i < 8; ++i)
        std::printf("%s %02x", i == 0 ? "data :" : "", read->data[i]);
    if (bytes > 0)
        std::printf("\n");
    std::fflush(stdout);
}

// Digits only, and not more than `most`.
static bool to_number(const wchar_t* text, std::uint64_t most, std::uint64_t& number)
{
    number = 0;
    const wchar_t* at = text;
    for (; *at >= L'0' && *at <= L'9'; ++at) {
        const auto digit = static_cast<std::uint64_t>(*at - L'0');
        if (number > (most - digit) / 10)
            return false;
        number = 10 * number + digit;
    }
    return at != text && *at == L'\0';
}

int wmain(int argc, wchar_t** argv)
{
    std::uint64_t offset = 0;
    std::uint64_t timeout_ms = 10'000;
    if (argc > 4 || (argc > 2 && !to_number(argv[2], UINT64_MAX, offset)) ||
        (argc > 3 && !to_number(argv[3], UINT32_MAX, timeout_ms))) {
        std::fputs("usage : event_wait [PATH [OFFSET [TIMEOUT_MS]]]\n", stderr);
        return 2;
    }
    wchar_t system[MAX_PATH] = L"";
    GetSystemDirectoryW(system, MAX_PATH);
    const std::wstring path = argc > 1 ? argv[1] : std::wstring(system) + L"\\kernel32.dll";
    read_block(path.c_str(), offset, static_cast<DWORD>(timeout_ms));
    return all_well ? 0 : 1;
}
