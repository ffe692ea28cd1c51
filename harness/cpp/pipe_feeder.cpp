// pipe_feeder: the far end of named pipes, steered by lines on stdin, so that a check decides when a read has data,
// stays without, or loses its peer. One answer on stdout for each line:
//
//     create NAME      -> created NAME        makes \\.\pipe\NAME, one instance, byte mode
//     connect NAME     -> connected NAME      returns when a program has opened it
//     write NAME HEX   -> wrote NAME          the bytes are in the pipe, read or not
//     close NAME       -> closed NAME         the reader finds what was written, then a broken pipe (109)
//
// A line that cannot be carried out answers `error : CALL : CODE : text`. The end of stdin ends the program.
#include "lab.hpp"

#include <iostream>
#include <map>
#include <sstream>
#include <vector>

namespace {

using Pipes = std::map<std::string, lab::File>; // a pipe's server end fails with INVALID_HANDLE_VALUE, as a file does

constexpr DWORD room = 1 << 20; // so much may wait in a pipe unread before write blocks

void create(Pipes& pipes, const std::string& name)
{
    const std::string path = "\\\\.\\pipe\\" + name;
    lab::File pipe{CreateNamedPipeA(path.c_str(), PIPE_ACCESS_DUPLEX, PIPE_TYPE_BYTE | PIPE_READMODE_BYTE | PIPE_WAIT,
                                    1, room, room, 0, nullptr)};
    if (!pipe)
        throw lab::Win32Error{"CreateNamedPipe", GetLastError()};
    pipes.insert_or_assign(name, std::move(pipe));
}

void connect(HANDLE pipe)
{
    if (!ConnectNamedPipe(pipe, nullptr) && GetLastError() != ERROR_PIPE_CONNECTED) // it was quicker than we
        throw lab::Win32Error{"ConnectNamedPipe", GetLastError()};
}

void write(HANDLE pipe, const std::string& hex)
{
    std::vector<unsigned char> bytes;
    for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
        bytes.push_back(static_cast<unsigned char>(std::stoul(hex.substr(i, 2), nullptr, 16)));
    DWORD written = 0;
    if (!WriteFile(pipe, bytes.data(), static_cast<DWORD>(bytes.size()), &written, nullptr) || written != bytes.size())
        throw lab::Win32Error{"WriteFile", GetLastError()};
}

const char* carry_out(Pipes& pipes, const std::string& verb, const std::string& name, const std::string& hex)
{
    if (verb == "create") {
        create(pipes, name);
        return "created ";
    }
    const auto pipe = pipes.find(name);
    if (pipe == pipes.end())
        throw lab::Win32Error{"create comes first", ERROR_FILE_NOT_FOUND};
    if (verb == "connect") {
        connect(pipe->second.get());
        return "connected ";
    }
    if (verb == "write") {
        write(pipe->second.get(), hex);
        return "wrote ";
    }
    if (verb == "close") {
        pipes.erase(pipe);
        return "closed ";
    }
    throw lab::Win32Error{"no such command", ERROR_INVALID_FUNCTION};
}

} // namespace

int wmain()
{
    Pipes pipes;
    for (std::string line; std::getline(std::cin, line);) {
        std::istringstream words(line);
        std::string verb;
        std::string name;
        std::string hex;
        words >> verb >> name >> hex;
        try {
            lab::print_line(carry_out(pipes, verb, name, hex), name);
        } catch (const lab::Win32Error& error) {
            lab::print_line("error : ", error.call, " : ", error.code, " : ", lab::system_text(error.code));
        }
    }
    return 0;
}
