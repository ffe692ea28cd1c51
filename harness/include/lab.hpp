// lab.hpp: the noise the five stages share, so that it does not stand between the reader and overlapped I/O:
// owners for handles, an error that knows its call, lines of UTF-8, the command line.
//
// Nothing a stage teaches is in here. Wherever a rule of overlapped I/O matters, the call stands in the stage itself.
//
// Text inside a program is UTF-8 (std::string) on its way out and UTF-16 (std::wstring) where Windows gave it to us.
#pragma once

#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN // or windows.h brings in the old winsock.h, which collides with winsock2.h
#endif
#ifndef NOMINMAX
#define NOMINMAX // or windows.h turns std::min and std::max into macros
#endif
#include <windows.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace lab {

// ---------------------------------------------------------------- lines of UTF-8

// UTF-16 from Windows as UTF-8. A lone surrogate becomes U+FFFD: nothing is thrown away silently.
inline std::string to_utf8(std::wstring_view text)
{
    const int length = static_cast<int>(text.size());
    const int bytes = WideCharToMultiByte(CP_UTF8, 0, text.data(), length, nullptr, 0, nullptr, nullptr);
    std::string utf8(static_cast<std::size_t>(bytes), '\0');
    WideCharToMultiByte(CP_UTF8, 0, text.data(), length, utf8.data(), bytes, nullptr, nullptr);
    return utf8;
}

inline void append(std::string& line, std::string_view text)
{
    line += text;
}

template <std::integral Number>
void append(std::string& line, Number number)
{
    char digits[24];
    const auto [end, error] = std::to_chars(std::begin(digits), std::end(digits), number);
    line.append(digits, end);
}

template <std::integral Number>
void append(std::string& line, const std::atomic<Number>& number)
{
    append(line, number.load());
}

// Set once anything was reported on stderr: what was reported can then never end in exit code 0.
inline std::atomic<bool> something_failed = false;

// Program exit codes: 0 all well, 1 an I/O or Win32 failure, 2 wrong usage.
inline constexpr int wrong_usage = 2;
inline int exit_code() noexcept
{
    return something_failed ? 1 : 0;
}

// Writes the parts (text or whole numbers, in decimal) and a newline with ONE write, so that lines of two threads never
// mix and nothing waits in a buffer when the process ends. Numbers print by their own type: no format to get wrong.
// noexcept: lines are written while the kernel owns memory, which an exception would free on its way out. Out of memory
// for a line, the process ends here.
template <typename... Parts>
void write_line(DWORD standard_handle, const Parts&... parts) noexcept
{
    std::string line;
    (append(line, parts), ...);
    line += '\n';
    DWORD written = 0;
    const HANDLE out = GetStdHandle(standard_handle);
    if (!WriteFile(out, line.data(), static_cast<DWORD>(line.size()), &written, nullptr) || written != line.size())
        something_failed = true; // a full disk, a closed pipe: the exit code is all that is left to say it with
}

template <typename... Parts>
void print_line(const Parts&... parts) noexcept
{
    write_line(STD_OUTPUT_HANDLE, parts...);
}

// Makes a console show what print_line writes, and puts it back when the program ends by itself.
class Utf8Console {
public:
    Utf8Console() noexcept : before_(GetConsoleOutputCP()) { SetConsoleOutputCP(CP_UTF8); }
    ~Utf8Console()
    {
        if (before_ != 0)
            SetConsoleOutputCP(before_);
    }
    Utf8Console(const Utf8Console&) = delete;
    Utf8Console& operator=(const Utf8Console&) = delete;

private:
    UINT before_;
};

// "4d 5a 90 00": the first eight bytes of data in hex, fewer if there are fewer.
inline std::string hex(std::span<const std::byte> data)
{
    constexpr std::string_view digits = "0123456789abcdef";
    std::string text;
    for (const std::byte byte : data.first(std::min<std::size_t>(data.size(), 8))) {
        if (!text.empty())
            text += ' ';
        text += digits[std::to_integer<unsigned>(byte >> 4)];
        text += digits[std::to_integer<unsigned>(byte & std::byte{15})];
    }
    return text;
}

// ---------------------------------------------------------------- errors

// A Win32 call that failed. Made at the call, before anything else can overwrite GetLastError.
struct Win32Error {
    const char* call; // a string literal
    DWORD code;
};

// What Windows says about a code, on one line (MAX_WIDTH_MASK: the breaks in the text become spaces), in UTF-8.
inline std::string system_text(DWORD code)
{
    wchar_t text[512];
    constexpr DWORD flags = FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS | FORMAT_MESSAGE_MAX_WIDTH_MASK;
    DWORD length = FormatMessageW(flags, nullptr, code, 0, text, static_cast<DWORD>(std::size(text)), nullptr);
    while (length > 0 && (text[length - 1] == L'\n' || text[length - 1] == L'\r' || text[length - 1] == L' '))
        --length;
    return length > 0 ? to_utf8({text, length}) : "no text for this code";
}

inline void report(const char* call, DWORD code) noexcept
{
    something_failed = true;
    write_line(STD_ERROR_HANDLE, "error : ", call, " : ", code, " : ", system_text(code));
}

inline void report(const Win32Error& error) noexcept
{
    report(error.call, error.code);
}

// For the failures after which memory that the kernel or another thread still uses can no longer be waited for.
// Unwinding would free that memory under them; ending the process takes everything down at once. Not ExitProcess: it
// ends the other threads first and then runs the DLLs' own endings, which may wait for a lock that one of them held.
[[noreturn]] inline void end_process(const char* call, DWORD code) noexcept
{
    report(call, code);
    TerminateProcess(GetCurrentProcess(), 1);
    std::abort(); // not reached
}

// ---------------------------------------------------------------- owners

// Owns one HANDLE and closes it. Which value means "none" is part of the type, because Windows has two of them:
// CreateFile fails with INVALID_HANDLE_VALUE, everything that creates an event, a thread or a port fails with null.
template <typename Empty>
class Owner {
public:
    Owner() noexcept = default;
    explicit Owner(HANDLE handle) noexcept : handle_(handle) {}
    Owner(Owner&& other) noexcept : handle_(std::exchange(other.handle_, Empty::value())) {}
    Owner& operator=(Owner&& other) noexcept
    {
        std::swap(handle_, other.handle_); // what was here is closed by other
        return *this;
    }
    ~Owner()
    {
        if (*this)
            CloseHandle(handle_);
    }

    HANDLE get() const noexcept { return handle_; }
    explicit operator bool() const noexcept { return handle_ != Empty::value(); }

private:
    HANDLE handle_ = Empty::value();
};

struct NoFile {
    static HANDLE value() noexcept { return INVALID_HANDLE_VALUE; }
};
struct NoObject {
    static HANDLE value() noexcept { return nullptr; }
};

using File = Owner<NoFile>;
using Event = Owner<NoObject>;
using Thread = Owner<NoObject>;
using Port = Owner<NoObject>;

// Waits until the thread has ended. Whatever the thread was given may be freed afterwards, and not before: if the wait
// cannot be had even at a second attempt, the process ends here instead of returning to a caller who would free it.
inline void join(const Thread& thread)
{
    if (WaitForSingleObject(thread.get(), INFINITE) == WAIT_OBJECT_0)
        return;
    report("WaitForSingleObject", GetLastError());
    if (WaitForSingleObject(thread.get(), INFINITE) != WAIT_OBJECT_0)
        end_process("WaitForSingleObject", GetLastError());
}

// ---------------------------------------------------------------- the command line

// A decimal number that is at most `most`; nothing else: no sign, no space, no hex.
template <std::unsigned_integral Number = std::uint64_t>
std::optional<Number> parse_number(std::wstring_view text, Number most = std::numeric_limits<Number>::max())
{
    std::uint64_t number = 0;
    const std::string digits = to_utf8(text);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (error != std::errc{} || end != digits.data() + digits.size() || number > most)
        return std::nullopt;
    return static_cast<Number>(number);
}

// A file that every Windows and every Wine has, for when no path is given.
inline std::wstring system_file(std::wstring_view name)
{
    wchar_t directory[MAX_PATH];
    const UINT length = GetSystemDirectoryW(directory, MAX_PATH);
    return std::wstring(directory, length).append(L"\\").append(name);
}

// The arguments of stages 1 to 3: [PATH [OFFSET [TIMEOUT_MS]]].
struct ReadArguments {
    std::wstring path;
    std::uint64_t offset = 0;
    DWORD timeout_ms = 10'000; // 0 gives up at once, 4294967295 (INFINITE) never does
};

// Nothing, with the usage on stderr, if the arguments are not of that form.
inline std::optional<ReadArguments> parse_read_arguments(const char* program, int argc, const wchar_t* const* argv)
{
    ReadArguments arguments{argc > 1 ? argv[1] : system_file(L"kernel32.dll")};
    const auto offset = parse_number<std::uint64_t>(argc > 2 ? argv[2] : L"0");
    const auto timeout_ms = parse_number<DWORD>(argc > 3 ? argv[3] : L"10000");
    if (argc > 4 || !offset || !timeout_ms) {
        write_line(STD_ERROR_HANDLE, "usage : ", program, " [PATH [OFFSET [TIMEOUT_MS]]]");
        return std::nullopt;
    }
    arguments.offset = *offset;
    arguments.timeout_ms = *timeout_ms;
    return arguments;
}

} // namespace lab
