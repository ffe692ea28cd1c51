// Opening, reading, writing, closing.
#include "call.hpp"
#include "hooks.hpp"
#include "requests.hpp"

#include <algorithm>
#include <utility>

namespace probe {

namespace {

// One UTF-8 byte; what would break a line or a field as %XX.
void put_byte(Line& line, unsigned char byte) noexcept
{
    if (byte < 0x20 || byte == 0x7F || byte == '%') {
        const char digits[] = {'%', "0123456789ABCDEF"[byte >> 4U], "0123456789ABCDEF"[byte & 15U]};
        line.text({digits, sizeof digits});
    } else {
        const char character = static_cast<char>(byte);
        line.text({&character, 1});
    }
}

void tell_path(Facts& facts, const wchar_t* path) noexcept
{
    if (path == nullptr)
        return;
    facts.line().field().text("path=");
    char utf8[1600];
    const int bytes = WideCharToMultiByte(CP_UTF8, 0, path, -1, utf8, sizeof utf8, nullptr, nullptr);
    for (int i = 0; i + 1 < bytes; ++i)
        put_byte(facts.line(), static_cast<unsigned char>(utf8[i]));
}

void tell_path(Facts& facts, const char* path) noexcept
{
    wchar_t wide[512];
    if (path != nullptr && MultiByteToWideChar(CP_ACP, 0, path, -1, wide, 512) > 0)
        tell_path(facts, wide);
}

// CreateFile and CreateNamedPipe: the path comes first.
struct Opens : FailsWithNoFile {
    static void before(Facts& facts, auto path, auto...) noexcept { tell_path(facts, path); }
    static void after(Facts&, const Call&, HANDLE file, auto...) noexcept { forget_file(file); } // of the same value
};

using CreateFileAHook = Hook<"CreateFileA", decltype(&CreateFileA), Opens>;
using CreateFileWHook = Hook<"CreateFileW", decltype(&CreateFileW), Opens>;
using CreateNamedPipeAHook = Hook<"CreateNamedPipeA", decltype(&CreateNamedPipeA), Opens>;
using CreateNamedPipeWHook = Hook<"CreateNamedPipeW", decltype(&CreateNamedPipeW), Opens>;

void hold_until_data(const Call& call, HANDLE pipe) noexcept
{
    DWORD bytes = 0;
    while (call.injection.action == Action::hold_until_data &&
           os().peek_named_pipe(pipe, nullptr, 0, nullptr, &bytes, nullptr) && bytes == 0)
        os().sleep(1); // nothing signals that a pipe has data
}

struct Transfers : FailsWithFalse {
    static void before(Facts& facts, HANDLE file, auto* buffer, DWORD bytes, DWORD*, OVERLAPPED* request) noexcept
    {
        if (request != nullptr)
            tell_submit(facts, {file, request, buffer, bytes});
    }
    static HANDLE closed(HANDLE file, auto*, DWORD, DWORD*, OVERLAPPED* request) noexcept
    {
        return first_closed(file, request != nullptr ? request->hEvent : nullptr);
    }
    static void failing(HANDLE, auto*, DWORD, DWORD* count, OVERLAPPED*) noexcept
    {
        if (count != nullptr)
            *count = 0;
    }
    static BOOL make(const Call& call, auto real, HANDLE file, auto* buffer, DWORD bytes, DWORD* count,
                     OVERLAPPED* request) noexcept
    {
        hold_until_data(call, file);
        if (call.injection.action == Action::shorten)
            bytes = std::min<DWORD>(bytes, call.injection.number);
        SetLastError(call.error_before);
        if (request == nullptr)
            return real(file, buffer, bytes, count, nullptr);
        const Attempt now([=]() noexcept -> DWORD {
            return real(file, buffer, bytes, count, request) ? ERROR_SUCCESS : GetLastError();
        });
        const Attempt later([=]() noexcept -> DWORD {
            return real(file, buffer, bytes, nullptr, request) ? ERROR_SUCCESS : GetLastError();
        });
        const DWORD error = submit(call, {file, request, buffer, bytes}, now, later);
        if (call.injection.action == Action::complete && error == ERROR_SUCCESS && count != nullptr)
            *count = static_cast<DWORD>(request->InternalHigh);
        return as_bool(error);
    }
    static void after(Facts& facts, const Call&, BOOL, HANDLE, auto*, DWORD, DWORD* count, OVERLAPPED*) noexcept
    {
        facts.behind("bytes", count);
    }
};

using ReadFileHook = Hook<"ReadFile", decltype(&ReadFile), Transfers>;
using WriteFileHook = Hook<"WriteFile", decltype(&WriteFile), Transfers>;

// Ends in a call of the program's function, which is how the program sees the end; hEvent is its own to use.
struct Calls : FailsWithFalse {
    struct Routine {
        Routine* next;
        OVERLAPPED* request;
        LPOVERLAPPED_COMPLETION_ROUTINE function;
    };
    constinit inline static SRWLOCK lock = SRWLOCK_INIT;
    constinit inline static Pool<Routine> pool{};
    constinit inline static Routine* waiting = nullptr;

    static Routine* take(OVERLAPPED* request) noexcept
    {
        for (Routine** at = &waiting; *at != nullptr; at = &(*at)->next)
            if ((*at)->request == request)
                return std::exchange(*at, (*at)->next);
        return nullptr;
    }
    static void CALLBACK completed(DWORD error, DWORD bytes, OVERLAPPED* request) noexcept
    {
        LPOVERLAPPED_COMPLETION_ROUTINE function = nullptr;
        {
            const Lock guard(lock);
            if (Routine* const found = take(request)) {
                function = found->function;
                pool.give_back(found);
            }
        }
        observe(request);
        Line line = begin_line("note", next_sequence());
        line.field().text("called-back").field().text("ov=").hex(as_number(request));
        write(line.field().text("bytes=").hex(bytes).field().text("error=").decimal(error));
        if (function != nullptr)
            function(error, bytes, request);
    }

    static void before(Facts& facts, HANDLE file, auto* buffer, DWORD bytes, OVERLAPPED* request, auto) noexcept
    {
        if (request != nullptr)
            tell_submit(facts, {file, request, buffer, bytes});
    }
    static HANDLE closed(HANDLE file, auto...) noexcept { return first_closed(file); }
    static BOOL make(const Call& call, auto real, HANDLE file, auto* buffer, DWORD bytes, OVERLAPPED* request,
                     LPOVERLAPPED_COMPLETION_ROUTINE function) noexcept
    {
        if (call.injection.action == Action::shorten)
            bytes = std::min<DWORD>(bytes, call.injection.number);
        Routine* routine = nullptr;
        {
            const Lock guard(lock);
            routine = pool.take();
            if (routine != nullptr) {
                *routine = {waiting, request, function};
                waiting = routine;
            }
        }
        SetLastError(call.error_before);
        const BOOL accepted = real(file, buffer, bytes, request, routine != nullptr ? &completed : function);
        if (!accepted && routine != nullptr) {
            const Lock guard(lock);
            if (Routine* const found = take(request))
                pool.give_back(found);
        }
        return accepted;
    }
};

using ReadFileExHook = Hook<"ReadFileEx", decltype(&ReadFileEx), Calls>;
using WriteFileExHook = Hook<"WriteFileEx", decltype(&WriteFileEx), Calls>;

struct Connects : FailsWithFalse {
    static void before(Facts& facts, HANDLE pipe, OVERLAPPED* request) noexcept
    {
        if (request != nullptr)
            tell_submit(facts, {pipe, request, nullptr, 0});
    }
    static HANDLE closed(HANDLE pipe, OVERLAPPED*) noexcept { return first_closed(pipe); }
    static BOOL make(const Call& call, auto real, HANDLE pipe, OVERLAPPED* request) noexcept
    {
        if (request == nullptr)
            return real(pipe, request);
        const Attempt attempt([=]() noexcept -> DWORD { return real(pipe, request) ? ERROR_SUCCESS : GetLastError(); });
        return as_bool(submit(call, {pipe, request, nullptr, 0}, attempt, attempt));
    }
};

using ConnectNamedPipeHook = Hook<"ConnectNamedPipe", decltype(&ConnectNamedPipe), Connects>;

struct Closes : FailsWithFalse {
    static HANDLE closed(HANDLE handle) noexcept { return first_closed(handle); }
    static BOOL make(const Call&, auto real, HANDLE handle) noexcept
    {
        cancel_put_off(handle, nullptr, false);
        const BOOL done = real(handle);
        if (done) {
            forget_file(handle);
            keep_closed(handle);
        }
        return done;
    }
};

using CloseHandleHook = Hook<"CloseHandle", decltype(&CloseHandle), Closes>;

struct Duplicates : FailsWithFalse {
    static HANDLE closed(HANDLE, HANDLE source, auto...) noexcept { return first_closed(source); }
    static void after(Facts& facts, const Call&, BOOL done, HANDLE from, HANDLE source, HANDLE, HANDLE* copy, DWORD,
                      BOOL, DWORD options) noexcept
    {
        if (done)
            facts.behind("handle", copy);
        if (done && from == GetCurrentProcess() && (options & DUPLICATE_CLOSE_SOURCE) != 0)
            keep_closed(source);
    }
};

using DuplicateHandleHook = Hook<"DuplicateHandle", decltype(&DuplicateHandle), Duplicates>;

struct ReadsSize : FailsWithFalse {
    static HANDLE closed(HANDLE file, auto...) noexcept { return first_closed(file); }
};

using GetFileSizeExHook = Hook<"GetFileSizeEx", decltype(&GetFileSizeEx), ReadsSize>;

} // namespace

void install_files() noexcept
{
    CreateFileAHook::install();
    CreateFileWHook::install();
    CreateNamedPipeAHook::install();
    CreateNamedPipeWHook::install();
    ConnectNamedPipeHook::install();
    ReadFileHook::install();
    WriteFileHook::install();
    ReadFileExHook::install();
    WriteFileExHook::install();
    CloseHandleHook::install();
    DuplicateHandleHook::install();
    GetFileSizeExHook::install();
}

} // namespace probe
