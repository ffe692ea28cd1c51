// What the units of several stages hold in their hands: a pipe with both its ends, a temporary file, the memory of one
// read, and the lines a stage prints. With these a test decides what happens, and in which order; nothing here sleeps.
//
// What cannot be set up throws std::runtime_error, whose text GoogleTest shows.
#pragma once

#include "lab.hpp"

#include <winioctl.h>

#include <array>
#include <stdexcept>
#include <vector>

namespace units {

[[noreturn]] inline void give_up(const char* call, DWORD code = GetLastError())
{
    throw std::runtime_error(std::string(call) + " : " + std::to_string(code) + " : " + lab::system_text(code));
}

// False once the handle was closed. Ask at once: a later object may be given the same number.
inline bool is_open(HANDLE handle)
{
    DWORD flags = 0;
    return GetHandleInformation(handle, &flags) != FALSE;
}

// Whether a manual-reset event is set. It stays as it is.
inline bool is_set(HANDLE event)
{
    return WaitForSingleObject(event, 0) == WAIT_OBJECT_0;
}

inline lab::Event manual_reset_event()
{
    lab::Event event{CreateEventW(nullptr, TRUE, FALSE, nullptr)};
    if (!event)
        give_up("CreateEvent");
    return event;
}

// ---------------------------------------------------------------- a pipe

// A connected byte-mode pipe. The test writes at the server end; the stage reads at the client end, overlapped. Empty,
// it keeps a read pending; with data in it a read completes at once; with the server end closed it is broken.
class ConnectedPipe {
public:
    ConnectedPipe()
    {
        static std::atomic<int> made = 0;
        const std::wstring path =
            L"\\\\.\\pipe\\lab-units-" + std::to_wstring(GetCurrentProcessId()) + L"-" + std::to_wstring(++made);
        constexpr DWORD room = 1 << 16;
        server_ =
            lab::File{CreateNamedPipeW(path.c_str(), PIPE_ACCESS_OUTBOUND | FILE_FLAG_FIRST_PIPE_INSTANCE,
                                       PIPE_TYPE_BYTE | PIPE_READMODE_BYTE | PIPE_WAIT, 1, room, room, 0, nullptr)};
        if (!server_)
            give_up("CreateNamedPipe");
        client_ = lab::File{
            CreateFileW(path.c_str(), GENERIC_READ, 0, nullptr, OPEN_EXISTING, FILE_FLAG_OVERLAPPED, nullptr)};
        if (!client_)
            give_up("CreateFile");
        if (!ConnectNamedPipe(server_.get(), nullptr) && GetLastError() != ERROR_PIPE_CONNECTED)
            give_up("ConnectNamedPipe");
    }

    HANDLE reader() const noexcept { return client_.get(); }

    // Returns when the text is in the pipe, read or not. There is room for 64 KiB.
    void write(std::string_view text)
    {
        DWORD written = 0;
        if (!WriteFile(server_.get(), text.data(), static_cast<DWORD>(text.size()), &written, nullptr) ||
            written != text.size())
            give_up("WriteFile");
    }

    // A pending read fails with 109, and so does every later one once the pipe is empty.
    void close_server() { server_ = lab::File{}; }

private:
    lab::File server_;
    lab::File client_;
};

// ---------------------------------------------------------------- a file

// A file of the given content in the temporary directory. It is deleted when this goes and nobody has it open any more.
class TemporaryFile {
public:
    explicit TemporaryFile(std::string_view content = {})
    {
        wchar_t directory[MAX_PATH + 1];
        wchar_t path[MAX_PATH + 1];
        if (GetTempPathW(static_cast<DWORD>(std::size(directory)), directory) == 0)
            give_up("GetTempPath");
        if (GetTempFileNameW(directory, L"lab", 0, path) == 0)
            give_up("GetTempFileName");
        path_ = path;
        write_at(0, content);
    }
    ~TemporaryFile() { DeleteFileW(path_.c_str()); }
    TemporaryFile(const TemporaryFile&) = delete;
    TemporaryFile& operator=(const TemporaryFile&) = delete;

    // Opened for overlapped reads, as the stages open theirs.
    lab::File open() const { return open(GENERIC_READ, FILE_FLAG_OVERLAPPED); }

    // The gap before a far offset takes no room on the disk: the file is sparse.
    void write_at(std::uint64_t offset, std::string_view text)
    {
        const lab::File file = open(GENERIC_WRITE, 0);
        DWORD bytes = 0;
        DeviceIoControl(file.get(), FSCTL_SET_SPARSE, nullptr, 0, nullptr, 0, &bytes, nullptr); // or it takes longer
        LARGE_INTEGER distance{};
        distance.QuadPart = static_cast<LONGLONG>(offset);
        if (!SetFilePointerEx(file.get(), distance, nullptr, FILE_BEGIN))
            give_up("SetFilePointerEx");
        if (!WriteFile(file.get(), text.data(), static_cast<DWORD>(text.size()), &bytes, nullptr))
            give_up("WriteFile");
    }

private:
    lab::File open(DWORD access, DWORD flags) const
    {
        constexpr DWORD everybody = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
        lab::File file{CreateFileW(path_.c_str(), access, everybody, nullptr, OPEN_EXISTING, flags, nullptr)};
        if (!file)
            give_up("CreateFile");
        return file;
    }

    std::wstring path_;
};

// ---------------------------------------------------------------- one read

// Gives up a read that has an event, and returns when the kernel has let go of its memory. Harmless if it is over.
inline void take_back(HANDLE file, OVERLAPPED& request) noexcept
{
    DWORD bytes = 0;
    if (CancelIoEx(file, &request))
        GetOverlappedResult(file, &request, &bytes, TRUE);
}

// Request, event and buffer of one read of a borrowed file. A test that ends early leaves nothing with the kernel.
struct OneRead {
    explicit OneRead(HANDLE file_to_read, std::uint64_t offset = 0) : file(file_to_read)
    {
        request.hEvent = done.get();
        request.Offset = static_cast<DWORD>(offset);
        request.OffsetHigh = static_cast<DWORD>(offset >> 32);
    }
    ~OneRead() { take_back(file, request); }
    OneRead(const OneRead&) = delete;
    OneRead& operator=(const OneRead&) = delete;

    std::string text(DWORD bytes) const { return {reinterpret_cast<const char*>(buffer.data()), bytes}; }

    HANDLE file;
    lab::Event done = manual_reset_event();
    OVERLAPPED request{};
    std::array<std::byte, 4096> buffer{};
};

// ---------------------------------------------------------------- what is printed

// While this lives, what the lab writes to STD_OUTPUT_HANDLE or STD_ERROR_HANDLE comes here instead. GoogleTest's own
// lines go through the C runtime, which does not notice. There is room for 1 MiB.
class Captured {
public:
    explicit Captured(DWORD standard_handle) : which_(standard_handle), before_(GetStdHandle(standard_handle))
    {
        HANDLE read_end = nullptr;
        HANDLE write_end = nullptr;
        if (!CreatePipe(&read_end, &write_end, nullptr, 1 << 20))
            give_up("CreatePipe");
        read_end_ = lab::Event{read_end};
        write_end_ = lab::Event{write_end};
        SetStdHandle(which_, write_end);
    }
    ~Captured() { SetStdHandle(which_, before_); }
    Captured(const Captured&) = delete;
    Captured& operator=(const Captured&) = delete;

    // Waits for the next line.
    std::string next_line()
    {
        std::size_t end = 0;
        while ((end = text_.find('\n')) == std::string::npos)
            if (!read_more())
                give_up("ReadFile");
        std::string line = text_.substr(0, end);
        text_.erase(0, end + 1);
        return line;
    }

    // Ends capturing and returns every line that is left. Whoever prints must have finished.
    std::vector<std::string> rest()
    {
        SetStdHandle(which_, before_);
        write_end_ = lab::Event{};
        while (read_more()) {
        }
        std::vector<std::string> lines;
        while (text_.find('\n') != std::string::npos)
            lines.push_back(next_line());
        if (!text_.empty())
            lines.push_back(text_ + " (and no newline)");
        return lines;
    }

private:
    bool read_more()
    {
        char part[4096];
        DWORD bytes = 0;
        const bool got = ReadFile(read_end_.get(), part, sizeof part, &bytes, nullptr) && bytes > 0;
        text_.append(part, bytes);
        return got;
    }

    DWORD which_;
    HANDLE before_;
    lab::Event read_end_; // CreatePipe's handles are null when there are none, as an event's is
    lab::Event write_end_;
    std::string text_;
};

using Lines = std::vector<std::string>;

} // namespace units
