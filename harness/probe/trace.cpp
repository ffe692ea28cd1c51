#include "trace.hpp"

#include <windows.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <iterator>

namespace probe {

namespace {

constexpr std::size_t header_bytes = 8;
constexpr std::size_t file_bytes = 32 << 20;
constexpr std::string_view full_line = "full\n";

constinit char* mapped = nullptr;
constinit std::atomic<std::size_t> used = 0;
constinit std::atomic<std::uint64_t> sequence = 0;
LARGE_INTEGER started_at{};
LARGE_INTEGER ticks_per_second{};

std::uint64_t microseconds() noexcept
{
    LARGE_INTEGER now{};
    QueryPerformanceCounter(&now);
    return static_cast<std::uint64_t>(now.QuadPart - started_at.QuadPart) * 1'000'000U /
           static_cast<std::uint64_t>(ticks_per_second.QuadPart);
}

} // namespace

Line& Line::text(std::string_view text) noexcept
{
    const std::size_t room = sizeof characters_ - length_;
    const std::size_t length = std::min(text.size(), room);
    std::memcpy(characters_ + length_, text.data(), length);
    length_ += length;
    return *this;
}

Line& Line::hex(std::uint64_t number) noexcept
{
    char digits[16];
    std::size_t at = sizeof digits;
    do {
        digits[--at] = "0123456789abcdef"[number & 15U];
        number >>= 4U;
    } while (number != 0);
    return text({digits + at, sizeof digits - at});
}

Line& Line::decimal(std::uint64_t number) noexcept
{
    char digits[20];
    std::size_t at = sizeof digits;
    do {
        digits[--at] = static_cast<char>('0' + number % 10U);
        number /= 10U;
    } while (number != 0);
    return text({digits + at, sizeof digits - at});
}

void open_trace() noexcept
{
    QueryPerformanceFrequency(&ticks_per_second);
    QueryPerformanceCounter(&started_at);
    wchar_t path[1024];
    const DWORD length = GetEnvironmentVariableW(L"LAB_TRACE", path, static_cast<DWORD>(std::size(path)));
    if (length == 0 || length >= std::size(path))
        return;
    const HANDLE file = CreateFileW(path, GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, nullptr,
                                    CREATE_ALWAYS, FILE_ATTRIBUTE_NORMAL, nullptr);
    if (file == INVALID_HANDLE_VALUE)
        return;
    const HANDLE mapping = CreateFileMappingW(file, nullptr, PAGE_READWRITE, 0, file_bytes, nullptr);
    if (mapping != nullptr) {
        mapped = static_cast<char*>(MapViewOfFile(mapping, FILE_MAP_WRITE, 0, 0, file_bytes));
        CloseHandle(mapping); // the view keeps the mapping, and the mapping the file
    }
    CloseHandle(file);
}

bool is_tracing() noexcept
{
    return mapped != nullptr;
}

std::uint64_t next_sequence() noexcept
{
    return ++sequence;
}

Line begin_line(std::string_view kind, std::uint64_t number) noexcept
{
    Line line;
    if (!is_tracing())
        return line;
    line.text(kind).field().decimal(number).field().hex(GetCurrentThreadId()).field().decimal(microseconds());
    return line;
}

void write(const Line& line) noexcept
{
    if (mapped == nullptr)
        return;
    const std::string_view text = line.view();
    constexpr std::size_t room = file_bytes - header_bytes - full_line.size();
    const std::size_t at = used.fetch_add(text.size() + 1);
    if (at + text.size() + 1 > room) {
        if (at <= room) // the first that does not fit
            std::memcpy(mapped + header_bytes + at, full_line.data(), full_line.size());
        return;
    }
    std::memcpy(mapped + header_bytes + at, text.data(), text.size());
    mapped[header_bytes + at + text.size()] = '\n';
    const std::uint64_t so_far = used.load(); // may count a line that another thread is still copying: it is 0 then
    const std::atomic_ref<std::uint64_t> header(*reinterpret_cast<std::uint64_t*>(mapped));
    std::uint64_t before = header.load();
    while (before < so_far && !header.compare_exchange_weak(before, so_far)) {
    }
}

} // namespace probe
