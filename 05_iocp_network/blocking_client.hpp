// What the units of stage 5 talk to a server with: a client of blocking calls, one after the other.
#pragma once

#include "sockets.hpp"

#include "connected_pipe.hpp"

namespace units {

inline Address loopback()
{
    return *parse_address(L"127.0.0.1");
}

inline Socket connect_to(Address server)
{
    Socket client = tcp_socket(server.family());
    if (connect(client.get(), server.get(), server.length) != 0)
        give_up("connect", socket_error());
    return client;
}

inline void send_text(const Socket& client, std::string_view text)
{
    if (send(client.get(), text.data(), static_cast<int>(text.size()), 0) != static_cast<int>(text.size()))
        give_up("send", socket_error());
}

inline void finish_sending(const Socket& client)
{
    if (shutdown(client.get(), SD_SEND) != 0)
        give_up("shutdown", socket_error());
}

// So many bytes; fewer if the stream ends before.
inline std::string receive_text(const Socket& client, std::size_t bytes)
{
    std::string text;
    char part[4096];
    while (text.size() < bytes) {
        const auto room = std::min(sizeof part, bytes - text.size());
        const int got = recv(client.get(), part, static_cast<int>(room), 0);
        if (got <= 0) // its end, or a reset
            break;
        text.append(part, static_cast<std::size_t>(got));
    }
    return text;
}

inline std::string receive_to_the_end(const Socket& client)
{
    return receive_text(client, std::numeric_limits<std::size_t>::max());
}

} // namespace units
