// Stage 3 with std::thread, and a context that main and foo own together by std::shared_ptr.
//
// Why it is correct: the kernel is no owner that a shared_ptr could count, so foo, who holds one of the pointers, does
// not let go before it has seen the completion; main's pointer goes earlier or later, and the last one frees context,
// buffer and event together. If no thread can be had, main does foo's work with a timeout of 0.
#define NOMINMAX
#include <windows.h>

#include <cstdint>
#include <cstdio>
#include <cwchar>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

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

struct Context {
    Context(HANDLE its_file, std::uint64_t offset)
        : file(its_file), event(CreateEventW(nullptr, TRUE, FALSE, nullptr)), buffer(4096)
    {
        request.Offset = static_cast<DWORD>(offset & 0xFFFFFFFFU);
        request.OffsetHigh = static_cast<DWORD>(offset >> 32);
        request.hEvent = event;
    }
    Context(const Context&) = delete;
    Context& operator=(const Context&) = delete;
    ~Context()
    {
        if (event != nullptr)
            CloseHandle(event);
    }

    OVERLAPPED request{};
    HANDLE file;
    HANDLE event;
    std::vector<unsigned char> buffer;
};

// Returns once the completion was seen, with the read's Win32 code.
DWORD await(Context& context, DWORD timeout_ms, DWORD& bytes)
{
    const DWORD waited = WaitForSingleObject(context.event, timeout_ms);
    if (waited == WAIT_FAILED)
        complain("WaitForSingleObject", GetLastError());
    for (int attempt = 0; waited != WAIT_OBJECT_0 && attempt < 2; ++attempt) {
        if (CancelIoEx(context.file, &context.request))
            break;
        const DWORD error = GetLastError();
        if (error == ERROR_NOT_FOUND) // done in the meantime
            break;
        complain("CancelIoEx", error);
    }
    if (GetOverlappedResult(context.file, &context.request, &bytes, TRUE))
        return ERROR_SUCCESS;
    const DWORD error = GetLastError();
    bytes = 0;
    return error;
}

void foo(const std::shared_ptr<Context>& context, DWORD timeout_ms)
{
    DWORD bytes = 0;
    const DWORD error = await(*context, timeout_ms, bytes);
    say(stdout, "foo : I/O Complete");
    say(stdout, "error : " + std::to_string(error));
    say(stdout, "bytes : " + std::to_string(bytes));
    std::string data;
    for (DWORD i = 0; i < bytes && i < 8; ++i) {
        char digits[4];
        std::snprintf(digits, sizeof digits, i == 0 ? "%02x" : " %02x", context->buffer[i]);
        data += digits;
    }
    if (!data.empty())
        say(stdout, "data : " + data);
    if (error != ERROR_SUCCESS)
        complain("ReadFile", error);
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

void read_block(HANDLE file, std::uint64_t offset, DWORD timeout_ms)
{
    const auto context = std::make_shared<Context>(file, offset);
    if (context->event == nullptr)
        return complain("CreateEventW", GetLastError());
    const BOOL at_once = ReadFile(file, context->buffer.data(), 4096, nullptr, &context->request);
    const DWORD error = at_once ? ERROR_SUCCESS : GetLastError();
    if (!at_once && error != ERROR_IO_PENDING)
        return complain("ReadFile", error);
    say(stdout, at_once ? "main : completed at once" : "main : pending");

    std::thread thread;
    try {
        thread = std::thread(foo, context, timeout_ms);
    } catch (const std::system_error& failure) {
        complain("std::thread", static_cast<DWORD>(failure.code().value()));
        return foo(context, 0); // somebody must see the completion
    }
    say(stdout, "Main Continue ..");
    thread.join();
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
        say(stderr, "usage : overlapped_plus [PATH [OFFSET [TIMEOUT_MS]]]");
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
