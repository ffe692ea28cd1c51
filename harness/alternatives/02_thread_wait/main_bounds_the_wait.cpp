// Stage 2 where main bounds the wait: foo only asks for the result and waits for ever; main waits for foo, for so long as
// it was told, and cancels the read when foo has not ended by then. foo runs by _beginthreadex.
//
// Why it is correct: a cancelled read completes, so foo's wait ends, and main joins foo before the frame with OVERLAPPED
// and buffer goes. If there is no foo, main itself cancels the read and sees its completion.
#define NOMINMAX
#include <windows.h>
#include <process.h>

#include <cstdint>
#include <cstdio>
#include <cwchar>
#include <optional>
#include <string>

namespace {

bool all_well = true;

void say(std::FILE* stream, const std::string& line)
{
    std::fputs((line + "\n").c_str(), stream);
    std::fflush(stream);
}

void complain(const char* call, DWORD code)
{
    wchar_t wide[256];
    const DWORD length =
        FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS | FORMAT_MESSAGE_MAX_WIDTH_MASK,
                       nullptr, code, 0, wide, 256, nullptr);
    char text[768];
    const int bytes = WideCharToMultiByte(CP_UTF8, 0, wide, static_cast<int>(length), text, 768, nullptr, nullptr);
    say(stderr, std::string("error : ") + call + " : " + std::to_string(code) + " : " +
                    (bytes > 0 ? std::string(text, static_cast<std::size_t>(bytes)) : "unknown"));
    all_well = false;
}

struct Read {
    HANDLE file;
    OVERLAPPED request;
    DWORD error;
    DWORD bytes;
};

void see_completion(Read& read)
{
    read.error = ERROR_SUCCESS;
    if (!GetOverlappedResult(read.file, &read.request, &read.bytes, TRUE)) {
        read.error = GetLastError();
        read.bytes = 0;
    }
}

unsigned __stdcall foo(void* argument)
{
    Read& read = *static_cast<Read*>(argument);
    see_completion(read);
    say(stdout, "foo : I/O Complete");
    say(stdout, "error : " + std::to_string(read.error));
    say(stdout, "bytes : " + std::to_string(read.bytes));
    return 0;
}

void give_up(Read& read)
{
    if (CancelIoEx(read.file, &read.request) || GetLastError() == ERROR_NOT_FOUND)
        return;
    complain("CancelIoEx", GetLastError());
    CancelIoEx(read.file, &read.request);
}

// Waits for foo, who ends when the read does.
void join_within(HANDLE thread, Read& read, DWORD timeout_ms)
{
    DWORD waited = WaitForSingleObject(thread, timeout_ms);
    if (waited == WAIT_OBJECT_0)
        return;
    if (waited == WAIT_FAILED)
        complain("WaitForSingleObject", GetLastError());
    give_up(read);
    waited = WaitForSingleObject(thread, INFINITE);
    if (waited == WAIT_OBJECT_0)
        return;
    complain("WaitForSingleObject", GetLastError());
    WaitForSingleObject(thread, INFINITE);
}

// A decimal number up to `most`, and nothing else.
std::optional<std::uint64_t> number(const wchar_t* text, std::uint64_t most)
{
    std::uint64_t value = 0;
    if (*text == L'\0')
        return std::nullopt;
    for (; *text != L'\0'; ++text) {
        if (*text < L'0' || *text > L'9')
            return std::nullopt;
        const auto digit = static_cast<std::uint64_t>(*text - L'0');
        if (value > (most - digit) / 10)
            return std::nullopt;
        value = value * 10 + digit;
    }
    return value;
}

void start_and_wait(Read& read, unsigned char* buffer, DWORD timeout_ms)
{
    const BOOL at_once = ReadFile(read.file, buffer, 4096, nullptr, &read.request);
    const DWORD error = at_once ? ERROR_SUCCESS : GetLastError();
    if (!at_once && error != ERROR_IO_PENDING)
        return complain("ReadFile", error);
    say(stdout, at_once ? "main : completed at once" : "main : pending");
    const auto thread = reinterpret_cast<HANDLE>(_beginthreadex(nullptr, 0, foo, &read, 0, nullptr));
    if (thread == nullptr) {
        complain("_beginthreadex", GetLastError());
        give_up(read);
        return see_completion(read);
    }
    say(stdout, "Main Continue ..");
    join_within(thread, read, timeout_ms);
    CloseHandle(thread);

    std::string data;
    for (DWORD i = 0; i < read.bytes && i < 8; ++i) {
        char digits[4];
        std::snprintf(digits, sizeof digits, i == 0 ? "%02x" : " %02x", buffer[i]);
        data += digits;
    }
    if (!data.empty())
        say(stdout, "main : data : " + data);
    if (read.error != ERROR_SUCCESS)
        complain("ReadFile", read.error);
}

void read_block(HANDLE file, std::uint64_t offset, DWORD timeout_ms)
{
    unsigned char buffer[4096];
    Read read{};
    read.file = file;
    read.request.Offset = static_cast<DWORD>(offset & 0xFFFFFFFFU);
    read.request.OffsetHigh = static_cast<DWORD>(offset >> 32);
    read.request.hEvent = CreateEventW(nullptr, TRUE, FALSE, nullptr);
    if (read.request.hEvent == nullptr)
        return complain("CreateEventW", GetLastError());
    start_and_wait(read, buffer, timeout_ms);
    CloseHandle(read.request.hEvent);
}

} // namespace

int wmain(int argc, wchar_t** argv)
{
    std::wstring path;
    if (argc > 1) {
        path = argv[1];
    } else {
        wchar_t folder[MAX_PATH];
        path = std::wstring(folder, GetSystemDirectoryW(folder, MAX_PATH)) + L"\\kernel32.dll";
    }
    const auto offset = number(argc > 2 ? argv[2] : L"0", UINT64_MAX);
    const auto timeout_ms = number(argc > 3 ? argv[3] : L"10000", 0xFFFFFFFFU);
    if (argc > 4 || !offset || !timeout_ms) {
        say(stderr, "usage : thread_wait [PATH [OFFSET [TIMEOUT_MS]]]");
        return 2;
    }
    const HANDLE file =
        CreateFileW(path.c_str(), GENERIC_READ, FILE_SHARE_READ, nullptr, OPEN_EXISTING, FILE_FLAG_OVERLAPPED, nullptr);
    if (file == INVALID_HANDLE_VALUE) {
        complain("CreateFileW", GetLastError());
        return 1;
    }
    read_block(file, *offset, static_cast<DWORD>(*timeout_ms));
    CloseHandle(file);
    return all_well ? 0 : 1;
}
