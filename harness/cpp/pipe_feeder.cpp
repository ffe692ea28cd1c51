// pipe_feeder: the far end of named pipes, steered by lines on stdin, so that a check decides when a read has data,
// stays without, or loses its peer. It says `ready` on stdout, and then gives one answer for each line:
//
//     create NAME        -> created NAME      makes \\.\pipe\NAME, one instance, byte mode
//     connect NAME MS    -> connected NAME    a program has opened it
//                        or waiting NAME      nobody has, for so many milliseconds
//     write NAME HEX     -> wrote NAME        the bytes are in the pipe, read or not
//     close NAME         -> closed NAME       the reader finds what was written, then a broken pipe (109)
//
// A line that cannot be carried out answers `error : CALL : CODE : text`. The end of stdin ends the program.
#include "lab.hpp"

#include <iostream>
#include <map>
#include <sstream>
#include <vector>

namespace {

// The server's end of one pipe. Overlapped, so that waiting for a program that never comes can be given up.
class Pipe {
public:
    explicit Pipe(const std::string& name)
        : pipe_(CreateNamedPipeA(("\\\\.\\pipe\\" + name).c_str(), PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED,
                                 PIPE_TYPE_BYTE | PIPE_READMODE_BYTE | PIPE_WAIT, 1, room, room, 0, nullptr)),
          done_(CreateEventW(nullptr, TRUE, FALSE, nullptr))
    {
        if (!pipe_)
            throw lab::Win32Error{"CreateNamedPipe", GetLastError()};
        if (!done_)
            throw lab::Win32Error{"CreateEvent", GetLastError()};
        request_.hEvent = done_.get();
        if (!ConnectNamedPipe(pipe_.get(), &request_)) {
            const DWORD error = GetLastError();
            if (error != ERROR_IO_PENDING && error != ERROR_PIPE_CONNECTED)
                throw lab::Win32Error{"ConnectNamedPipe", error};
            connecting_ = error == ERROR_IO_PENDING;
        }
    }
    Pipe(const Pipe&) = delete;
    Pipe& operator=(const Pipe&) = delete;
    ~Pipe()
    {
        if (connecting_ && (CancelIoEx(pipe_.get(), &request_) || GetLastError() == ERROR_NOT_FOUND)) {
            DWORD bytes = 0;
            GetOverlappedResult(pipe_.get(), &request_, &bytes, TRUE); // request_ is the kernel's until then
        }
    }

    // True once a program has opened the pipe; false if none has within timeout_ms.
    bool is_opened(DWORD timeout_ms)
    {
        if (connecting_ && WaitForSingleObject(done_.get(), timeout_ms) != WAIT_OBJECT_0)
            return false;
        connecting_ = false;
        return true;
    }

    void write(const std::vector<unsigned char>& bytes)
    {
        DWORD written = 0;
        const auto size = static_cast<DWORD>(bytes.size());
        if (!WriteFile(pipe_.get(), bytes.data(), size, nullptr, &request_) && GetLastError() != ERROR_IO_PENDING)
            throw lab::Win32Error{"WriteFile", GetLastError()};
        if (!GetOverlappedResult(pipe_.get(), &request_, &written, TRUE) || written != size)
            throw lab::Win32Error{"WriteFile", GetLastError()};
    }

private:
    static constexpr DWORD room = 1 << 20; // so much may wait in a pipe unread before write waits

    lab::File pipe_; // CreateNamedPipe fails with INVALID_HANDLE_VALUE, as CreateFile does
    lab::Event done_;
    OVERLAPPED request_{};
    bool connecting_ = false;
};

using Pipes = std::map<std::string, Pipe>;

std::vector<unsigned char> bytes_of(const std::string& hex)
{
    std::vector<unsigned char> bytes;
    for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
        bytes.push_back(static_cast<unsigned char>(std::stoul(hex.substr(i, 2), nullptr, 16)));
    return bytes;
}

const char* carry_out(Pipes& pipes, const std::string& verb, const std::string& name, const std::string& rest)
{
    if (verb == "create") {
        if (!pipes.try_emplace(name, name).second)
            throw lab::Win32Error{"close comes first", ERROR_ALREADY_EXISTS};
        return "created ";
    }
    const auto found = pipes.find(name);
    if (found == pipes.end())
        throw lab::Win32Error{"create comes first", ERROR_FILE_NOT_FOUND};
    Pipe& pipe = found->second;
    if (verb == "connect")
        return pipe.is_opened(static_cast<DWORD>(std::stoul(rest))) ? "connected " : "waiting ";
    if (verb == "write") {
        pipe.write(bytes_of(rest));
        return "wrote ";
    }
    if (verb == "close") {
        pipes.erase(found);
        return "closed ";
    }
    throw lab::Win32Error{"no such command", ERROR_INVALID_FUNCTION};
}

} // namespace

int wmain()
{
    Pipes pipes;
    lab::print_line("ready");
    for (std::string line; std::getline(std::cin, line);) {
        std::istringstream words(line);
        std::string verb;
        std::string name;
        std::string rest;
        words >> verb >> name >> rest;
        try {
            lab::print_line(carry_out(pipes, verb, name, rest), name);
        } catch (const lab::Win32Error& error) {
            lab::print_line("error : ", error.call, " : ", error.code, " : ", lab::system_text(error.code));
        }
    }
    return 0;
}
