// Stage 1 with no bounded wait at all: GetOverlappedResult waits, and a thread pool timer cancels the read when its
// time is up.
//
// Why it is correct: the timer's callback touches the OVERLAPPED, so it must be over before that goes. The timer is
// disarmed and its callbacks are waited for after the completion was seen and before anything is freed. If it fires
// between the two, CancelIoEx finds nothing to cancel, and that is no error.
#define NOMINMAX
#include <windows.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

namespace {

std::atomic<int> status{0};

void report(std::string_view call, DWORD code)
{
    status = 1;
    std::array<wchar_t, 512> wide{};
    std::array<char, 1536> text{};
    FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS | FORMAT_MESSAGE_MAX_WIDTH_MASK, nullptr,
                   code, 0, wide.data(), 511, nullptr);
    WideCharToMultiByte(CP_UTF8, 0, wide.data(), -1, text.data(), 1536, nullptr, nullptr);
    std::string line = "error : ";
    line.append(call).append(" : ").append(std::to_string(code)).append(" : ");
    line.append(text[0] != '\0' ? text.data() : "unknown").append("\n");
    std::fputs(line.c_str(), stderr);
}

void say(const std::string& line)
{
    std::fputs((line + "\n").c_str(), stdout);
    std::fflush(stdout);
}

struct Read {
    HANDLE file = INVALID_HANDLE_VALUE;
    OVERLAPPED overlapped{};
    std::array<unsigned char, 4096> buffer{};
    PTP_TIMER timer = nullptr;

    ~Read()
    {
        if (timer != nullptr) {
            SetThreadpoolTimer(timer, nullptr, 0, 0);
            WaitForThreadpoolTimerCallbacks(timer, TRUE);
            CloseThreadpoolTimer(timer);
        }
        if (overlapped.hEvent != nullptr)
            CloseHandle(overlapped.hEvent);
        if (file != INVALID_HANDLE_VALUE)
            CloseHandle(file);
    }

    void cancel()
    {
        if (CancelIoEx(file, &overlapped) || GetLastError() == ERROR_NOT_FOUND)
            return;
        report("CancelIoEx", GetLastError());
        if (!CancelIoEx(file, &overlapped) && GetLastError() != ERROR_NOT_FOUND)
            report("CancelIoEx", GetLastError());
    }
};

void CALLBACK too_late(PTP_CALLBACK_INSTANCE, void* read, PTP_TIMER)
{
    static_cast<Read*>(read)->cancel();
}

// Makes everything that can fail before the read is asked for.
bool prepare(Read& read, const std::wstring& path, std::uint64_t offset)
{
    read.file =
        CreateFileW(path.c_str(), GENERIC_READ, FILE_SHARE_READ, nullptr, OPEN_EXISTING, FILE_FLAG_OVERLAPPED, nullptr);
    if (read.file == INVALID_HANDLE_VALUE)
        return report("CreateFile", GetLastError()), false;
    read.overlapped.hEvent = CreateEventW(nullptr, TRUE, FALSE, nullptr);
    if (read.overlapped.hEvent == nullptr)
        return report("CreateEvent", GetLastError()), false;
    read.timer = CreateThreadpoolTimer(too_late, &read, nullptr);
    if (read.timer == nullptr)
        return report("CreateThreadpoolTimer", GetLastError()), false;
    read.overlapped.Offset = static_cast<DWORD>(offset);
    read.overlapped.OffsetHigh = static_cast<DWORD>(offset >> 32);
    return true;
}

void bound(Read& read, DWORD timeout_ms)
{
    if (timeout_ms == 0)
        return read.cancel();
    if (timeout_ms == INFINITE)
        return;
    ULARGE_INTEGER due;
    due.QuadPart = static_cast<ULONGLONG>(-static_cast<LONGLONG>(timeout_ms) * 10'000);
    FILETIME relative{due.LowPart, due.HighPart};
    SetThreadpoolTimer(read.timer, &relative, 0, 0);
}

void read_block(const std::wstring& path, std::uint64_t offset, DWORD timeout_ms)
{
    Read read;
    if (!prepare(read, path, offset))
        return;
    const bool done = ReadFile(read.file, read.buffer.data(), 4096, nullptr, &read.overlapped);
    const DWORD refusal = done ? ERROR_SUCCESS : GetLastError();
    if (!done && refusal != ERROR_IO_PENDING)
        return report("ReadFile", refusal);
    say(done ? "main : completed at once" : "main : pending");

    if (!done)
        bound(read, timeout_ms);
    DWORD bytes = 0;
    const DWORD error = GetOverlappedResult(read.file, &read.overlapped, &bytes, TRUE) ? ERROR_SUCCESS : GetLastError();
    if (error != ERROR_SUCCESS) {
        bytes = 0;
        status = 1;
    }

    say("main : I/O Complete");
    say("error : " + std::to_string(error));
    say("bytes : " + std::to_string(bytes));
    std::string data;
    for (DWORD i = 0; i < std::min<DWORD>(bytes, 8); ++i) {
        char digits[4];
        std::snprintf(digits, sizeof digits, " %02x", read.buffer[i]);
        data += digits;
    }
    if (!data.empty())
        say("data :" + data);
}

template <typename Number>
bool parse(std::wstring_view wide, Number& number)
{
    std::string text;
    for (const wchar_t letter : wide)
        text += letter >= L'0' && letter <= L'9' ? static_cast<char>(letter) : 'x';
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    return error == std::errc{} && end == text.data() + text.size();
}

} // namespace

int wmain(int argc, wchar_t** argv)
{
    std::uint64_t offset = 0;
    DWORD timeout_ms = 10'000;
    if (argc > 4 || (argc > 2 && !parse(argv[2], offset)) || (argc > 3 && !parse(argv[3], timeout_ms))) {
        std::fputs("usage : event_wait [PATH [OFFSET [TIMEOUT_MS]]]\n", stderr);
        return 2;
    }
    std::wstring path(MAX_PATH, L'\0');
    if (argc > 1)
        path = argv[1];
    else
        path.resize(GetSystemDirectoryW(path.data(), MAX_PATH)), path += L"\\kernel32.dll";
    read_block(path, offset, timeout_ms);
    return status;
}
