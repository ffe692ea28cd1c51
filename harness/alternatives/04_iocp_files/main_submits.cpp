// Stage 4 with a division of labour: main alone asks for reads, and gives each a context out of a vector of its own;
// the workers only take packets, report them, and give the context back. A condition variable lets main wait for it.
//
// Why it is correct: a context is the kernel's from ReadFile until its packet is taken, the worker's until it is given
// back, and main's again after that, under the pool's lock; of a read that was refused main still has it. main goes on
// to the stops when all contexts are back: no packet can come then. Contexts and buffers are freed after the joins.
#define NOMINMAX
#include <windows.h>

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cwchar>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace {

std::mutex output;
bool all_well = true;

void say(std::FILE* stream, const std::string& text)
{
    const std::lock_guard guard(output);
    std::fputs((text + "\n").c_str(), stream);
    std::fflush(stream);
    all_well = all_well && stream != stderr;
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
}

// Without packets nobody ever knows when the kernel is done with the contexts: nothing may be freed, so all ends here.
[[noreturn]] void give_up(const char* call, DWORD code)
{
    complain(call, code);
    ExitProcess(1);
}

struct File {
    HANDLE handle;
    ULONG_PTR key;
    std::uint64_t blocks;
};

struct Context {
    OVERLAPPED request;
    ULONG_PTR key;
    std::uint64_t id;
    unsigned char* buffer;
};

// The contexts that nobody uses, and what has become of the others.
class Pool {
public:
    explicit Pool(std::vector<Context>& contexts) : all_(contexts.size())
    {
        for (Context& context : contexts)
            idle_.push_back(&context);
    }

    Context& take()
    {
        std::unique_lock guard(lock_);
        given_back_.wait(guard, [this] { return !idle_.empty(); });
        Context& context = *idle_.back();
        idle_.pop_back();
        return context;
    }
    void give_back(Context& context, DWORD error, DWORD bytes)
    {
        const std::lock_guard guard(lock_);
        idle_.push_back(&context); // there is room: it was in here before
        bytes_ += error == ERROR_SUCCESS ? bytes : 0;
        failed_ += error == ERROR_SUCCESS ? 0 : 1;
        given_back_.notify_one(); // main is the only one that waits
    }
    void wait_for_all()
    {
        std::unique_lock guard(lock_);
        given_back_.wait(guard, [this] { return idle_.size() == all_; });
    }
    std::uint64_t bytes() const { return bytes_; }
    std::uint64_t failed() const { return failed_; }

private:
    const std::size_t all_;
    std::mutex lock_;
    std::condition_variable given_back_;
    std::vector<Context*> idle_;
    std::uint64_t bytes_ = 0;
    std::uint64_t failed_ = 0;
};

// Reports a read that is over, and gives its context back.
void finish(Pool& pool, Context& context, DWORD error, DWORD bytes)
{
    const std::string name = std::to_string(context.key) + ", " + std::to_string(context.id) + ", ";
    std::string line = "COMPLETE : " + name + std::to_string(bytes) + " :";
    for (DWORD i = 0; i < bytes && i < 8; ++i) {
        char digits[4];
        std::snprintf(digits, sizeof digits, " %02x", static_cast<unsigned>(context.buffer[i]));
        line += digits;
    }
    say(stdout, error == ERROR_SUCCESS ? line : "FAILED : " + name + with_text(error));
    pool.give_back(context, error, bytes);
}

void work(HANDLE port, Pool& pool)
{
    for (int failures = 0;;) {
        DWORD bytes = 0;
        ULONG_PTR key = 0;
        OVERLAPPED* request = nullptr;
        const BOOL good = GetQueuedCompletionStatus(port, &bytes, &key, &request, INFINITE);
        const DWORD error = good ? ERROR_SUCCESS : GetLastError();
        if (request != nullptr) {
            finish(pool, *CONTAINING_RECORD(request, Context, request), error, bytes);
            failures = 0;
        } else if (good) {
            return; // a stop
        } else if (++failures == 1) {
            complain("GetQueuedCompletionStatus", error);
        } else {
            give_up("GetQueuedCompletionStatus", error);
        }
    }
}

void stop(HANDLE port, std::vector<std::thread>& workers)
{
    for (std::size_t i = 0; i < workers.size(); ++i) {
        if (PostQueuedCompletionStatus(port, 0, 0, nullptr))
            continue;
        complain("PostQueuedCompletionStatus", GetLastError());
        if (!PostQueuedCompletionStatus(port, 0, 0, nullptr))
            give_up("PostQueuedCompletionStatus", GetLastError());
    }
    for (std::thread& worker : workers)
        worker.join();
}

// noexcept: nothing may unwind past the contexts while workers and kernel use them.
void read_all(HANDLE port, const std::vector<File>& files, DWORD block, std::vector<Context>& contexts,
              std::uint64_t threads) noexcept
{
    Pool pool(contexts);
    std::vector<std::thread> workers;
    try {
        while (workers.size() < threads)
            workers.emplace_back(work, port, std::ref(pool));
    } catch (const std::exception&) {
        complain("std::thread", ERROR_NO_SYSTEM_RESOURCES);
        return stop(port, workers);
    }
    std::uint64_t id = 0;
    for (const File& file : files)
        for (std::uint64_t number = 0; number < file.blocks; ++number) {
            Context& context = pool.take();
            const std::uint64_t offset = number * block;
            context.request = OVERLAPPED{};
            context.request.Offset = static_cast<DWORD>(offset & 0xFFFFFFFFU);
            context.request.OffsetHigh = static_cast<DWORD>(offset >> 32);
            context.key = file.key;
            context.id = ++id;
            if (ReadFile(file.handle, context.buffer, block, nullptr, &context.request))
                continue; // done already: its packet comes all the same
            const DWORD error = GetLastError();
            if (error != ERROR_IO_PENDING) {
                complain("ReadFile", error);
                finish(pool, context, error, 0);
            }
        }
    say(stdout, "Main Continue ..");
    pool.wait_for_all();
    stop(port, workers);
    all_well = all_well && pool.failed() == 0;
    say(stdout, "done : " + std::to_string(id) + " reads, " + std::to_string(pool.bytes()) + " bytes, " +
                    std::to_string(pool.failed()) + " failed");
}

struct Options {
    std::uint64_t blocks = 2;
    std::uint64_t block = 4096;
    std::uint64_t depth = 32;
    std::uint64_t threads = 2;
    std::vector<std::wstring> paths;
};

// Opens the files, binds them to the port and reads them. A file with which something fails is left out.
void read_files(HANDLE port, const Options& options, std::vector<File>& files)
{
    std::uint64_t total = 0;
    for (std::size_t i = 0; i < options.paths.size(); ++i) {
        const ULONG_PTR key = 100 * (i + 1);
        const HANDLE file = CreateFileW(options.paths[i].c_str(), GENERIC_READ, FILE_SHARE_READ, nullptr, OPEN_EXISTING,
                                        FILE_FLAG_OVERLAPPED, nullptr);
        if (file == INVALID_HANDLE_VALUE) {
            complain("CreateFileW", GetLastError());
            continue;
        }
        files.push_back({file, key, 0}); // there is room
        LARGE_INTEGER size{};
        if (CreateIoCompletionPort(file, port, key, 0) == nullptr)
            complain("CreateIoCompletionPort", GetLastError());
        else if (options.blocks == 0 && !GetFileSizeEx(file, &size))
            complain("GetFileSizeEx", GetLastError());
        else
            files.back().blocks = options.blocks != 0
                                      ? options.blocks
                                      : (static_cast<std::uint64_t>(size.QuadPart) + options.block - 1) / options.block;
        total += files.back().blocks;
    }
    const auto block = static_cast<std::size_t>(options.block);
    std::vector<Context> contexts(static_cast<std::size_t>(std::min(options.depth, total)));
    const auto buffers = std::make_unique<unsigned char[]>(contexts.size() * block);
    for (std::size_t i = 0; i < contexts.size(); ++i)
        contexts[i].buffer = &buffers[i * block];
    read_all(port, files, static_cast<DWORD>(block), contexts, options.threads);
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
        say(stderr, "usage : iocp_files [--blocks N] [--block BYTES] [--depth D] [--threads T] [PATH...]");
        return 2;
    }
    if (options.paths.empty()) {
        wchar_t folder[MAX_PATH];
        const std::wstring system(folder, GetSystemDirectoryW(folder, MAX_PATH));
        options.paths = {system + L"\\kernel32.dll", system + L"\\ntdll.dll"};
    }
    const HANDLE port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, nullptr, 0, 0);
    if (port == nullptr) {
        complain("CreateIoCompletionPort", GetLastError());
        return 1;
    }
    std::vector<File> files;
    try {
        files.reserve(options.paths.size());
        read_files(port, options, files);
    } catch (const std::exception&) {
        complain("operator new", ERROR_NOT_ENOUGH_MEMORY);
    }
    for (const File& file : files)
        CloseHandle(file.handle);
    CloseHandle(port);
    return all_well ? 0 : 1;
}
