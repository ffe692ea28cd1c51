// Stage 3 without a thread of its own: foo is the callback of a thread pool wait, and the request counts its references.
//
// The pool waits for the read's event, within the timeout; only when it is over does foo take one of the pool's threads.
//
// Why it is correct: main holds one reference and foo another, taken before the pool hears of the request. foo gives its
// own back after GetOverlappedResult with wait, and the last one out deletes request, buffer and events. Everything that
// can fail is made before the read is asked for. If main cannot wait for foo even at a second attempt, it ends the
// process: a request that was given to the pool cannot safely be taken back. (On Wine 8 a callback may come even after
// SetThreadpoolWait with null and WaitForThreadpoolWaitCallbacks.)
#define NOMINMAX
#include <windows.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

namespace {

std::atomic<int> exit_code{0};

void write_line(std::FILE* stream, std::string line)
{
    std::fputs((line += '\n').c_str(), stream);
    std::fflush(stream);
}

void report(std::string_view call, DWORD code)
{
    exit_code = 1;
    std::array<wchar_t, 256> wide{};
    std::array<char, 768> text{};
    FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS | FORMAT_MESSAGE_MAX_WIDTH_MASK, nullptr,
                   code, 0, wide.data(), 255, nullptr);
    WideCharToMultiByte(CP_UTF8, 0, wide.data(), -1, text.data(), 768, nullptr, nullptr);
    std::string line = "error : ";
    line.append(call).append(" : ").append(std::to_string(code)).append(" : ");
    write_line(stderr, line.append(text[0] != '\0' ? text.data() : "unknown"));
}

class Request : public OVERLAPPED {
public:
    Request(HANDLE its_file, std::uint64_t offset) : OVERLAPPED{}, file(its_file)
    {
        Offset = static_cast<DWORD>(offset);
        OffsetHigh = static_cast<DWORD>(offset >> 32);
        hEvent = CreateEventW(nullptr, TRUE, FALSE, nullptr);
        if (hEvent != nullptr)
            ended = CreateEventW(nullptr, TRUE, FALSE, nullptr);
        if (ended == nullptr)
            report("CreateEvent", GetLastError());
    }
    Request(const Request&) = delete;
    Request& operator=(const Request&) = delete;

    bool is_ready() const { return ended != nullptr; }
    void add_reference() { references_.fetch_add(1, std::memory_order_relaxed); }
    void release()
    {
        if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1)
            delete this;
    }

    const HANDLE file; // borrowed
    HANDLE ended = nullptr;
    std::array<unsigned char, 4096> buffer{};

private:
    ~Request() // only release may
    {
        for (const HANDLE event : {hEvent, ended})
            if (event != nullptr)
                CloseHandle(event);
    }

    std::atomic<long> references_{1};
};

// Takes over one reference.
class Reference {
public:
    explicit Reference(Request* request) : request_(request) {}
    Reference(const Reference&) = delete;
    Reference& operator=(const Reference&) = delete;
    ~Reference() { request_->release(); }
    Request* operator->() const { return request_; }
    Request* get() const { return request_; }

private:
    Request* request_;
};

void cancel(Request& request)
{
    for (int attempt = 0; attempt < 2 && !CancelIoEx(request.file, &request); ++attempt) {
        const DWORD error = GetLastError();
        if (error == ERROR_NOT_FOUND) // it was done first
            return;
        report("CancelIoEx", error);
    }
}

// What foo does, whoever runs it.
void finish(Request& request, bool in_time)
{
    if (!in_time)
        cancel(request);
    DWORD bytes = 0;
    DWORD error = ERROR_SUCCESS;
    if (!GetOverlappedResult(request.file, &request, &bytes, TRUE)) {
        error = GetLastError();
        bytes = 0;
    }
    write_line(stdout, "foo : I/O Complete");
    write_line(stdout, "error : " + std::to_string(error));
    write_line(stdout, "bytes : " + std::to_string(bytes));
    if (bytes > 0) {
        std::string data = "data :";
        for (DWORD i = 0; i < std::min<DWORD>(bytes, 8); ++i) {
            constexpr std::string_view digits = "0123456789abcdef";
            const auto byte = request.buffer[i];
            data.append({' ', digits[byte >> 4], digits[byte & 15]});
        }
        write_line(stdout, data);
    }
    if (error != ERROR_SUCCESS)
        report("ReadFile", error);
}

void CALLBACK foo(PTP_CALLBACK_INSTANCE, void* context, PTP_WAIT, TP_WAIT_RESULT result)
{
    const Reference request(static_cast<Request*>(context));
    finish(*request.get(), result == WAIT_OBJECT_0);
    SetEvent(request->ended); // main still has a reference, so the event outlives this call
}

// Hands the request to the pool. A due time below zero counts from now, in steps of 100 ns; none means never.
void wait_in_pool(PTP_WAIT wait, Request& request, DWORD timeout_ms)
{
    ULARGE_INTEGER due;
    due.QuadPart = static_cast<ULONGLONG>(-static_cast<LONGLONG>(timeout_ms) * 10'000);
    FILETIME relative{due.LowPart, due.HighPart};
    SetThreadpoolWait(wait, request.hEvent, timeout_ms == INFINITE ? nullptr : &relative);
}

// Returns when foo has ended.
void join(PTP_WAIT wait, Request& request)
{
    if (WaitForSingleObject(request.ended, INFINITE) != WAIT_OBJECT_0) {
        report("WaitForSingleObject", GetLastError());
        if (WaitForSingleObject(request.ended, INFINITE) != WAIT_OBJECT_0)
            ExitProcess(1);
    }
    WaitForThreadpoolWaitCallbacks(wait, FALSE); // FALSE: one that has begun runs to its end
}

void read_block(HANDLE file, std::uint64_t offset, DWORD timeout_ms)
{
    const Reference request(new Request(file, offset));
    if (!request->is_ready())
        return;
    const PTP_WAIT wait = CreateThreadpoolWait(foo, request.get(), nullptr);
    if (wait == nullptr)
        return report("CreateThreadpoolWait", GetLastError());

    const BOOL at_once =
        ReadFile(file, request->buffer.data(), static_cast<DWORD>(request->buffer.size()), nullptr, request.get());
    const DWORD error = at_once ? ERROR_SUCCESS : GetLastError();
    if (at_once || error == ERROR_IO_PENDING) {
        write_line(stdout, at_once ? "main : completed at once" : "main : pending");
        request->add_reference();
        wait_in_pool(wait, *request.get(), timeout_ms);
        write_line(stdout, "Main Continue ..");
        join(wait, *request.get());
    } else {
        report("ReadFile", error);
    }
    CloseThreadpoolWait(wait);
}

// A decimal number up to `most`, and nothing else.
std::optional<std::uint64_t> number(std::wstring_view text, std::uint64_t most)
{
    if (text.empty())
        return std::nullopt;
    std::uint64_t value = 0;
    for (const wchar_t letter : text) {
        if (letter < L'0' || letter > L'9')
            return std::nullopt;
        const auto digit = static_cast<std::uint64_t>(letter - L'0');
        if (value > (most - digit) / 10)
            return std::nullopt;
        value = value * 10 + digit;
    }
    return value;
}

} // namespace

int wmain(int argc, wchar_t** argv)
{
    const auto offset = number(argc > 2 ? argv[2] : L"0", std::numeric_limits<std::uint64_t>::max());
    const auto timeout_ms = number(argc > 3 ? argv[3] : L"10000", std::numeric_limits<DWORD>::max());
    if (argc > 4 || !offset || !timeout_ms) {
        write_line(stderr, "usage : overlapped_plus [PATH [OFFSET [TIMEOUT_MS]]]");
        return 2;
    }
    std::wstring path(MAX_PATH, L'\0');
    if (argc > 1) {
        path = argv[1];
    } else {
        path.resize(GetSystemDirectoryW(path.data(), MAX_PATH));
        path += L"\\kernel32.dll";
    }
    const HANDLE file =
        CreateFileW(path.c_str(), GENERIC_READ, FILE_SHARE_READ, nullptr, OPEN_EXISTING, FILE_FLAG_OVERLAPPED, nullptr);
    if (file == INVALID_HANDLE_VALUE) {
        report("CreateFile", GetLastError());
        return exit_code;
    }
    read_block(file, *offset, static_cast<DWORD>(*timeout_ms));
    CloseHandle(file);
    return exit_code;
}
