// Stage 2 with std::jthread, exceptions, unique_ptr as the owner of handles, and GetOverlappedResultEx as foo's wait.
//
// Why it is correct: the jthread is the youngest local of the frame that holds OVERLAPPED, buffer and handles, and it is
// joined before any of them goes. If it cannot be started, the read is given up on the spot, by the same function that
// foo would have run, with a timeout of 0.
#define NOMINMAX
#include <windows.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <iomanip>
#include <iostream>
#include <limits>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <system_error>
#include <thread>

namespace {

struct Closer {
    void operator()(HANDLE handle) const noexcept { CloseHandle(handle); }
};
using Handle = std::unique_ptr<void, Closer>;

std::string message_of(DWORD code)
{
    wchar_t wide[512];
    const DWORD length =
        FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS | FORMAT_MESSAGE_MAX_WIDTH_MASK,
                       nullptr, code, 0, wide, 512, nullptr);
    char narrow[1536];
    const int bytes = WideCharToMultiByte(CP_UTF8, 0, wide, static_cast<int>(length), narrow, 1536, nullptr, nullptr);
    return bytes > 0 ? std::string(narrow, static_cast<std::size_t>(bytes)) : "unknown";
}

void complain(const std::string& call, DWORD code)
{
    std::cerr << "error : " + call + " : " + std::to_string(code) + " : " + message_of(code) + "\n";
}

struct CallFailed {
    std::string call;
    DWORD code;
};

Handle open(const std::wstring& path)
{
    const HANDLE file =
        CreateFileW(path.c_str(), GENERIC_READ, FILE_SHARE_READ, nullptr, OPEN_EXISTING, FILE_FLAG_OVERLAPPED, nullptr);
    if (file == INVALID_HANDLE_VALUE)
        throw CallFailed{"CreateFileW", GetLastError()};
    return Handle(file);
}

Handle manual_reset_event()
{
    Handle event(CreateEventExW(nullptr, nullptr, CREATE_EVENT_MANUAL_RESET, EVENT_ALL_ACCESS));
    if (!event)
        throw CallFailed{"CreateEventExW", GetLastError()};
    return event;
}

// Returns once the completion was seen. `clean` becomes false if a call failed on the way.
DWORD await(HANDLE file, OVERLAPPED& request, DWORD timeout_ms, DWORD& bytes, std::atomic<bool>& clean) noexcept
{
    if (GetOverlappedResultEx(file, &request, &bytes, timeout_ms, FALSE))
        return ERROR_SUCCESS;
    DWORD error = GetLastError();
    if (error != WAIT_TIMEOUT && error != ERROR_IO_INCOMPLETE) {
        if (HasOverlappedIoCompleted(&request)) // no port here, so the status may be looked at: the read has failed
            return error;
        complain("GetOverlappedResultEx", error); // the call has
        clean = false;
    }
    for (int attempt = 0; attempt < 2 && !CancelIoEx(file, &request); ++attempt) {
        error = GetLastError();
        if (error == ERROR_NOT_FOUND)
            break;
        complain("CancelIoEx", error);
        clean = false;
    }
    if (GetOverlappedResultEx(file, &request, &bytes, INFINITE, FALSE))
        return ERROR_SUCCESS;
    return GetLastError();
}

// main's lines and foo's must not run into each other: each is handed to the stream whole.
void say(const std::string& text)
{
    std::cout << text + "\n" << std::flush;
}

int read_block(const std::wstring& path, std::uint64_t offset, DWORD timeout_ms)
{
    const Handle file = open(path);
    const Handle event = manual_reset_event();
    std::array<unsigned char, 4096> buffer;
    OVERLAPPED request = {};
    request.hEvent = event.get();
    request.Offset = static_cast<DWORD>(offset);
    request.OffsetHigh = static_cast<DWORD>(offset >> 32);

    const bool at_once = ReadFile(file.get(), buffer.data(), static_cast<DWORD>(buffer.size()), nullptr, &request);
    if (!at_once)
        if (const DWORD error = GetLastError(); error != ERROR_IO_PENDING)
            throw CallFailed{"ReadFile", error};
    say(at_once ? "main : completed at once" : "main : pending");

    std::atomic<bool> clean = true;
    DWORD bytes = 0;
    DWORD error = ERROR_SUCCESS;
    const auto foo = [&, file = file.get()] {
        error = await(file, request, timeout_ms, bytes, clean);
        if (error != ERROR_SUCCESS)
            bytes = 0;
        say("foo : I/O Complete");
        say("error : " + std::to_string(error));
        say("bytes : " + std::to_string(bytes));
    };
    try {
        std::jthread thread(foo);
        say("Main Continue ..");
    } catch (const std::system_error& failed) {
        complain("jthread", static_cast<DWORD>(failed.code().value()));
        await(file.get(), request, 0, bytes, clean);
        return EXIT_FAILURE;
    }

    if (bytes > 0) {
        std::ostringstream line;
        line << std::hex << std::setfill('0');
        for (DWORD i = 0; i < std::min<DWORD>(bytes, 8); ++i)
            line << ' ' << std::setw(2) << unsigned{buffer[i]};
        say("main : data :" + line.str());
    }
    return error == ERROR_SUCCESS && clean ? EXIT_SUCCESS : EXIT_FAILURE;
}

std::optional<std::uint64_t> number(const std::wstring& text, std::uint64_t most)
{
    if (text.empty() || text.find_first_not_of(L"0123456789") != std::wstring::npos)
        return std::nullopt;
    try {
        const unsigned long long value = std::stoull(text);
        return value <= most ? std::optional<std::uint64_t>(value) : std::nullopt;
    } catch (const std::out_of_range&) {
        return std::nullopt;
    }
}

} // namespace

int wmain(int argc, wchar_t** argv)
{
    std::wstring path;
    if (argc > 1) {
        path = argv[1];
    } else {
        wchar_t directory[MAX_PATH];
        path.assign(directory, GetSystemDirectoryW(directory, MAX_PATH)).append(L"\\kernel32.dll");
    }
    const auto offset = number(argc > 2 ? argv[2] : L"0", std::numeric_limits<std::uint64_t>::max());
    const auto timeout_ms = number(argc > 3 ? argv[3] : L"10000", std::numeric_limits<DWORD>::max());
    if (argc > 4 || !offset || !timeout_ms) {
        std::cerr << "usage : thread_wait [PATH [OFFSET [TIMEOUT_MS]]]\n";
        return 2;
    }
    try {
        return read_block(path, *offset, static_cast<DWORD>(*timeout_ms));
    } catch (const CallFailed& failed) {
        complain(failed.call, failed.code);
        return EXIT_FAILURE;
    }
}
