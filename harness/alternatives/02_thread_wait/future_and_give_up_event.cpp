// Stage 2 with std::thread, a promise for the result, and a second event by which main tells foo to give up.
//
// Why it is correct: main waits for the future as long as the user allows, then sets the event. Only foo, which waits for
// either event, ever cancels, and it then sees the completion. The future is ready after that alone, and main leaves the
// frame that owns everything only after future and join.
#define NOMINMAX
#include <windows.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <future>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

static std::atomic<bool> all_well = true;

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

struct Result {
    DWORD error;
    DWORD bytes;
};

static void say(const std::string& text)
{
    std::fputs((text + "\n").c_str(), stdout);
    std::fflush(stdout);
}

// Waits for the read or for `give_up`, and in both cases for the completion.
static Result finish(HANDLE file, OVERLAPPED& request, HANDLE give_up)
{
    const HANDLE either[] = {request.hEvent, give_up};
    const DWORD first = WaitForMultipleObjects(2, either, FALSE, INFINITE);
    if (first == WAIT_FAILED)
        report("WaitForMultipleObjects", GetLastError());
    bool asked = first == WAIT_OBJECT_0; // nothing to cancel
    for (int attempt = 1; !asked && attempt <= 2; ++attempt) {
        asked = CancelIoEx(file, &request) || GetLastError() == ERROR_NOT_FOUND;
        if (!asked)
            report("CancelIoEx", GetLastError());
    }
    DWORD bytes = 0;
    if (GetOverlappedResult(file, &request, &bytes, TRUE))
        return {ERROR_SUCCESS, bytes};
    return {GetLastError(), 0};
}

static void foo(HANDLE file, OVERLAPPED* request, HANDLE give_up, std::promise<Result> promise)
{
    const Result result = finish(file, *request, give_up);
    say("foo : I/O Complete");
    say("error : " + std::to_string(result.error));
    say("bytes : " + std::to_string(result.bytes));
    promise.set_value(result);
}

static void read_block(const wchar_t* path, std::uint64_t offset, DWORD timeout_ms)
{
    const Handle file(
        CreateFileW(path, GENERIC_READ, FILE_SHARE_READ, nullptr, OPEN_EXISTING, FILE_FLAG_OVERLAPPED, nullptr));
    if (file.missing("CreateFile"))
        return;
    const Handle done(CreateEventW(nullptr, TRUE, FALSE, nullptr));
    if (done.missing("CreateEvent"))
        return;
    const Handle give_up(CreateEventW(nullptr, TRUE, FALSE, nullptr));
    if (give_up.missing("CreateEvent"))
        return;
    std::vector<std::uint8_t> data(4096);
    std::promise<Result> promise;
    std::future<Result> future = promise.get_future();
    OVERLAPPED request{};
    request.hEvent = done;
    request.Offset = static_cast<DWORD>(offset);
    request.OffsetHigh = static_cast<DWORD>(offset >> 32);

    const BOOL at_once = ReadFile(file, data.data(), 4096, nullptr, &request);
    if (!at_once && GetLastError() != ERROR_IO_PENDING)
        return report("ReadFile", GetLastError());
    say(at_once ? "main : completed at once" : "main : pending");

    std::thread thread;
    try {
        thread = std::thread(foo, HANDLE{file}, &request, HANDLE{give_up}, std::move(promise));
    } catch (const std::system_error& error) {
        report("std::thread", static_cast<DWORD>(error.code().value()));
        SetEvent(give_up);
        finish(file, request, give_up);
        return;
    }
    say("Main Continue ..");
    if (timeout_ms != INFINITE && future.wait_for(std::chrono::milliseconds(timeout_ms)) != std::future_status::ready)
        SetEvent(give_up);
    const Result result = future.get();
    thread.join();

    if (result.error != ERROR_SUCCESS)
        all_well = false;
    std::string line;
    for (DWORD i = 0; i < result.bytes && i < 8; ++i) {
        char digits[4];
        std::snprintf(digits, sizeof digits, " %02x", data[i]);
        line += digits;
    }
    if (!line.empty())
        say("main : data :" + line);
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
        std::fputs("usage : thread_wait [PATH [OFFSET [TIMEOUT_MS]]]\n", stderr);
        return 2;
    }
    wchar_t system[MAX_PATH] = L"";
    GetSystemDirectoryW(system, MAX_PATH);
    const std::wstring path = argc > 1 ? argv[1] : std::wstring(system) + L"\\kernel32.dll";
    read_block(path.c_str(), offset, static_cast<DWORD>(timeout_ms));
    return all_well ? 0 : 1;
}
