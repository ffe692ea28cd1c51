// Stage 4 with FILE_SKIP_COMPLETION_PORT_ON_SUCCESS on every file, and GetQueuedCompletionStatusEx, which takes packets
// by the batch. A read that ReadFile has done is handled where it was asked for, in a loop: no packet comes for it.
//
// Why it is correct: in skip mode TRUE means done and no packet, ERROR_IO_PENDING means a packet (on Wine even for a
// read that is over already), anything else means refused: each read is handled in exactly one place. How the request
// of an entry has ended is told by GetOverlappedResult, which need not wait by then. A batch may bring several stops,
// one for each worker: who gets more than its own posts the others again.
#define NOMINMAX
#include <windows.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cwchar>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace {

std::atomic<bool> all_well{true};

// One write for each line, whichever thread it comes from.
void say(DWORD stream, const std::string& text)
{
    const std::string line = text + "\n";
    DWORD written = 0;
    WriteFile(GetStdHandle(stream), line.data(), static_cast<DWORD>(line.size()), &written, nullptr);
}

std::string text_of(DWORD code)
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
    all_well = false;
    say(STD_ERROR_HANDLE, std::string("error : ") + call + " : " + text_of(code));
}

// For when packets can be neither had nor sent: the reads stay the kernel's, so nobody may free them and go on.
[[noreturn]] void give_up(const char* call, DWORD code)
{
    complain(call, code);
    ExitProcess(1);
}

struct Closer {
    void operator()(HANDLE handle) const { CloseHandle(handle); }
};
using Handle = std::unique_ptr<void, Closer>;

struct Source {
    Handle file;
    ULONG_PTR key;
    std::uint64_t blocks;
};

struct Read : OVERLAPPED {
    const Source* source = nullptr;
    std::uint64_t id = 0;
    std::vector<unsigned char> buffer;
};

struct Options {
    std::uint64_t blocks = 2;
    std::uint64_t block = 4096;
    std::uint64_t depth = 32;
    std::uint64_t threads = std::max(1U, std::thread::hardware_concurrency());
    std::vector<std::wstring> paths;
};

struct Job {
    HANDLE port = nullptr;
    std::vector<Source> sources;
    std::vector<Read> reads; // as many as may be in flight, each used again and again
    std::uint64_t total = 0;
    std::size_t takers = 1;
    std::mutex lock; // of the next three
    std::size_t source = 0;
    std::uint64_t block_of_source = 0;
    std::uint64_t last_id = 0;
    std::atomic<std::uint64_t> busy{0}; // reads in use, and one share of main's
    std::atomic<std::uint64_t> bytes{0};
    std::atomic<std::uint64_t> failed{0};
};

void say_failed(Job& job, const Read& read, DWORD error)
{
    ++job.failed;
    all_well = false;
    say(STD_OUTPUT_HANDLE,
        "FAILED : " + std::to_string(read.source->key) + ", " + std::to_string(read.id) + ", " + text_of(error));
}

// Reports a read that is over.
void finish(Job& job, Read& read)
{
    DWORD bytes = 0;
    if (!GetOverlappedResult(read.source->file.get(), &read, &bytes, FALSE))
        return say_failed(job, read, GetLastError());
    job.bytes += bytes;
    std::string line = "COMPLETE : " + std::to_string(read.source->key) + ", " + std::to_string(read.id) + ", " +
                       std::to_string(bytes) + " :";
    for (DWORD i = 0; i < bytes && i < 8; ++i)
        line += {' ', "0123456789abcdef"[read.buffer[i] >> 4], "0123456789abcdef"[read.buffer[i] & 15]};
    say(STD_OUTPUT_HANDLE, line);
}

void post_stops(HANDLE port, std::size_t count)
{
    for (; count > 0; --count) {
        if (PostQueuedCompletionStatus(port, 0, 0, nullptr))
            continue;
        complain("PostQueuedCompletionStatus", GetLastError());
        if (!PostQueuedCompletionStatus(port, 0, 0, nullptr))
            give_up("PostQueuedCompletionStatus", GetLastError());
    }
}

void give_back_share(Job& job)
{
    if (--job.busy == 0)
        post_stops(job.port, job.takers);
}

bool take_next_block(Job& job, Read& read)
{
    const std::lock_guard guard(job.lock);
    for (; job.source < job.sources.size(); ++job.source, job.block_of_source = 0) {
        if (job.block_of_source == job.sources[job.source].blocks)
            continue;
        const std::uint64_t offset = job.block_of_source++ * read.buffer.size();
        static_cast<OVERLAPPED&>(read) = OVERLAPPED{};
        read.Offset = static_cast<DWORD>(offset & 0xFFFFFFFFU);
        read.OffsetHigh = static_cast<DWORD>(offset >> 32);
        read.source = &job.sources[job.source];
        read.id = ++job.last_id;
        return true;
    }
    return false;
}

// Goes on until this read is under way or there are no more blocks.
void start_next(Job& job, Read& read)
{
    while (take_next_block(job, read)) {
        const auto room = static_cast<DWORD>(read.buffer.size());
        if (ReadFile(read.source->file.get(), read.buffer.data(), room, nullptr, &read)) {
            finish(job, read);
            continue;
        }
        const DWORD error = GetLastError();
        if (error == ERROR_IO_PENDING)
            return; // perhaps another worker has it already
        complain("ReadFile", error);
        say_failed(job, read, error);
    }
    give_back_share(job);
}

void work(Job& job)
{
    OVERLAPPED_ENTRY entries[16];
    std::size_t stops = 0;
    for (bool failed_before = false; stops == 0;) {
        ULONG count = 0;
        if (!GetQueuedCompletionStatusEx(job.port, entries, 16, &count, INFINITE, FALSE)) {
            if (failed_before)
                give_up("GetQueuedCompletionStatusEx", GetLastError());
            complain("GetQueuedCompletionStatusEx", GetLastError());
            failed_before = true;
            continue; // what is in count now means nothing
        }
        failed_before = false;
        for (ULONG i = 0; i < count; ++i) {
            if (entries[i].lpOverlapped == nullptr) {
                ++stops;
                continue;
            }
            Read& read = *static_cast<Read*>(entries[i].lpOverlapped);
            finish(job, read);
            start_next(job, read);
        }
    }
    post_stops(job.port, stops - 1);
}

// noexcept: with reads in flight there is no way back.
void run(Job& job, std::uint64_t threads) noexcept
{
    std::vector<std::jthread> workers; // those that can be had will do; without any, main works
    try {
        while (workers.size() < threads)
            workers.emplace_back([&job] { work(job); });
    } catch (const std::exception&) {
        complain("std::jthread", ERROR_NO_SYSTEM_RESOURCES);
    }
    job.takers = std::max<std::size_t>(1, workers.size());
    job.busy = job.reads.size() + 1;
    for (Read& read : job.reads)
        start_next(job, read);
    say(STD_OUTPUT_HANDLE, "Main Continue ..");
    give_back_share(job);
    if (workers.empty())
        work(job);
    for (std::jthread& worker : workers)
        worker.join();
    say(STD_OUTPUT_HANDLE, "done : " + std::to_string(job.total) + " reads, " + std::to_string(job.bytes) + " bytes, " +
                               std::to_string(job.failed) + " failed");
}

void open_source(Job& job, const std::wstring& path, ULONG_PTR key, const Options& options)
{
    const HANDLE file =
        CreateFileW(path.c_str(), GENERIC_READ, FILE_SHARE_READ, nullptr, OPEN_EXISTING, FILE_FLAG_OVERLAPPED, nullptr);
    if (file == INVALID_HANDLE_VALUE)
        return complain("CreateFileW", GetLastError());
    Source source{Handle(file), key, options.blocks};
    LARGE_INTEGER size{};
    if (CreateIoCompletionPort(file, job.port, key, 0) == nullptr)
        return complain("CreateIoCompletionPort", GetLastError());
    if (!SetFileCompletionNotificationModes(file, FILE_SKIP_COMPLETION_PORT_ON_SUCCESS))
        return complain("SetFileCompletionNotificationModes", GetLastError());
    if (options.blocks == 0) {
        if (!GetFileSizeEx(file, &size))
            return complain("GetFileSizeEx", GetLastError());
        source.blocks = (static_cast<std::uint64_t>(size.QuadPart) + options.block - 1) / options.block;
    }
    job.total += source.blocks;
    job.sources.push_back(std::move(source));
}

void read_files(const Options& options)
{
    const Handle port(CreateIoCompletionPort(INVALID_HANDLE_VALUE, nullptr, 0, 0));
    if (!port)
        return complain("CreateIoCompletionPort", GetLastError());
    Job job;
    job.port = port.get();
    for (std::size_t i = 0; i < options.paths.size(); ++i)
        open_source(job, options.paths[i], 100 * (i + 1), options);
    job.reads.resize(static_cast<std::size_t>(std::min(options.depth, job.total)));
    for (Read& read : job.reads)
        read.buffer.resize(static_cast<std::size_t>(options.block));
    run(job, options.threads);
}

// A decimal number within the bounds, and nothing else. One too large for 64 bits comes out as the largest.
bool read_number(const std::wstring& text, std::uint64_t least, std::uint64_t most, std::uint64_t& value)
{
    if (text.empty() || text.find_first_not_of(L"0123456789") != std::wstring::npos)
        return false;
    value = std::wcstoull(text.c_str(), nullptr, 10);
    return value >= least && value <= most;
}

bool read_options(int argc, wchar_t** argv, Options& options)
{
    for (int i = 1; i < argc; ++i) {
        const std::wstring name = argv[i];
        const std::wstring value = i + 1 < argc ? argv[i + 1] : L"";
        if (name.compare(0, 2, L"--") != 0)
            options.paths.push_back(name);
        else if ((name == L"--blocks" && read_number(value, 0, std::uint64_t{1} << 40, options.blocks)) ||
                 (name == L"--block" && read_number(value, 1, 0xFFFFFFFFU, options.block)) ||
                 (name == L"--depth" && read_number(value, 1, 1U << 20, options.depth)) ||
                 (name == L"--threads" && read_number(value, 1, 256, options.threads)))
            ++i;
        else
            return false;
    }
    return options.blocks <= static_cast<std::uint64_t>(INT64_MAX) / options.block; // no offset may become negative
}

} // namespace

int wmain(int argc, wchar_t** argv)
{
    Options options;
    if (!read_options(argc, argv, options)) {
        say(STD_ERROR_HANDLE, "usage : iocp_files [--blocks N] [--block BYTES] [--depth D] [--threads T] [PATH...]");
        return 2;
    }
    if (options.paths.empty()) {
        wchar_t folder[MAX_PATH];
        const std::wstring system(folder, GetSystemDirectoryW(folder, MAX_PATH));
        options.paths = {system + L"\\kernel32.dll", system + L"\\ntdll.dll"};
    }
    try {
        read_files(options);
    } catch (const std::exception&) {
        complain("operator new", ERROR_NOT_ENOUGH_MEMORY);
    }
    return all_well ? 0 : 1;
}
