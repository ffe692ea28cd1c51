// Stage 4's problem with a wait for any of the events, again and again: each read is reported as soon as it is over,
// and one that ReadFile has done already where it was asked for.
//
// Why it is correct: a read stays in the list of those under way, and is owned by it, until GetOverlappedResult has
// told how it ended. A wait that fails costs no more than the order: the first of the list is then waited for alone.
// The list has room for all before the first read, so that nothing can throw between asking for a read and keeping it.
#define NOMINMAX
#include <windows.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

namespace {

constexpr DWORD block = 4096;

int failures = 0;
std::uint64_t bytes_read = 0;
bool all_well = true;

void say(std::FILE* stream, const std::string& line)
{
    std::fputs((line + "\n").c_str(), stream);
    std::fflush(stream);
}

std::string with_text(DWORD code)
{
    wchar_t wide[256];
    const DWORD length =
        FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS | FORMAT_MESSAGE_MAX_WIDTH_MASK,
                       nullptr, code, 0, wide, 256, nullptr);
    char text[768];
    const int bytes = WideCharToMultiByte(CP_UTF8, 0, wide, static_cast<int>(length), text, 768, nullptr, nullptr);
    return std::to_string(code) + " : " + (bytes > 0 ? std::string(text, static_cast<std::size_t>(bytes)) : "unknown");
}

void complain(const char* call, DWORD code)
{
    say(stderr, std::string("error : ") + call + " : " + with_text(code));
    all_well = false;
}

struct Closer {
    using pointer = HANDLE;
    void operator()(HANDLE handle) const
    {
        if (handle != INVALID_HANDLE_VALUE)
            CloseHandle(handle);
    }
};
using Handle = std::unique_ptr<void, Closer>;

struct Read {
    int id = 0;
    HANDLE file = nullptr; // borrowed
    Handle event{CreateEventW(nullptr, TRUE, FALSE, nullptr)};
    OVERLAPPED overlapped{};
    std::array<unsigned char, block> data{};
};
using Reads = std::vector<std::unique_ptr<Read>>;

void say_failed(int id, DWORD error)
{
    ++failures;
    all_well = false;
    say(stdout, "FAILED : " + std::to_string(id) + ", " + with_text(error));
}

// Waits for the read, if need be, and reports it.
void finish(Read& read)
{
    DWORD bytes = 0;
    if (!GetOverlappedResult(read.file, &read.overlapped, &bytes, TRUE))
        return say_failed(read.id, GetLastError());
    bytes_read += bytes;
    std::string line = "COMPLETE : " + std::to_string(read.id) + ", " + std::to_string(bytes) + " :";
    for (DWORD i = 0; i < bytes && i < 8; ++i) {
        char digits[4];
        std::snprintf(digits, sizeof digits, " %02x", static_cast<unsigned>(read.data[i]));
        line += digits;
    }
    say(stdout, line);
}

// The read is in under_way if it is neither over nor refused.
void read_4k_async(Reads& under_way, HANDLE file, std::uint64_t offset, int id)
{
    auto read = std::make_unique<Read>();
    if (!read->event) {
        const DWORD error = GetLastError();
        complain("CreateEventW", error);
        return say_failed(id, error);
    }
    read->id = id;
    read->file = file;
    read->overlapped.hEvent = read->event.get();
    read->overlapped.Offset = static_cast<DWORD>(offset & 0xFFFFFFFFU);
    read->overlapped.OffsetHigh = static_cast<DWORD>(offset >> 32);
    if (ReadFile(file, read->data.data(), block, nullptr, &read->overlapped))
        return finish(*read);
    const DWORD error = GetLastError();
    if (error == ERROR_IO_PENDING) {
        under_way.push_back(std::move(read));
    } else {
        complain("ReadFile", error);
        say_failed(id, error);
    }
}

void report_each_as_it_comes(Reads& under_way)
{
    while (!under_way.empty()) {
        std::array<HANDLE, 4> events{};
        for (std::size_t i = 0; i < under_way.size(); ++i)
            events[i] = under_way[i]->event.get();
        const DWORD waited =
            WaitForMultipleObjects(static_cast<DWORD>(under_way.size()), events.data(), FALSE, INFINITE);
        if (waited == WAIT_FAILED)
            complain("WaitForMultipleObjects", GetLastError());
        const std::size_t which = waited < under_way.size() ? waited : 0;
        finish(*under_way[which]);
        under_way.erase(under_way.begin() + static_cast<std::ptrdiff_t>(which));
    }
}

Handle open(const wchar_t* path)
{
    Handle file(
        CreateFileW(path, GENERIC_READ, FILE_SHARE_READ, nullptr, OPEN_EXISTING, FILE_FLAG_OVERLAPPED, nullptr));
    if (file.get() == INVALID_HANDLE_VALUE)
        complain("CreateFileW", GetLastError());
    return file;
}

// noexcept: with reads under way there is no way back.
void read_four_blocks(const wchar_t* path1, const wchar_t* path2) noexcept
{
    const Handle file1 = open(path1);
    const Handle file2 = open(path2);
    if (file1.get() == INVALID_HANDLE_VALUE || file2.get() == INVALID_HANDLE_VALUE)
        return;
    Reads under_way;
    under_way.reserve(4);
    read_4k_async(under_way, file1.get(), 0, 1);
    read_4k_async(under_way, file1.get(), block, 2);
    read_4k_async(under_way, file2.get(), 0, 3);
    read_4k_async(under_way, file2.get(), block, 4);
    say(stdout, "Main Continue ..");
    report_each_as_it_comes(under_way);
    say(stdout, "done : 4 reads, " + std::to_string(bytes_read) + " bytes, " + std::to_string(failures) + " failed");
}

} // namespace

int wmain(int argc, wchar_t** argv)
{
    if (argc != 1 && argc != 3) {
        say(stderr, "usage : four_reads [PATH1 PATH2]");
        return 2;
    }
    if (argc == 3) {
        read_four_blocks(argv[1], argv[2]);
    } else {
        wchar_t folder[MAX_PATH];
        const std::wstring system(folder, GetSystemDirectoryW(folder, MAX_PATH));
        read_four_blocks((system + L"\\kernel32.dll").c_str(), (system + L"\\ntdll.dll").c_str());
    }
    return all_well ? 0 : 1;
}
