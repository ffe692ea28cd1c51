// Stage 5, the mechanism: an echo server on one completion port.
//
// A connection has ONE request in flight at any time, and goes round with it:
//
//     accepting -> receiving -> sending -> receiving -> ... -> end of stream, error or stop -> closed
//
// So one OVERLAPPED and one buffer serve it all its life: nothing is allocated for a message, no two threads ever hold
// it at once, and a peer that does not read holds only its own buffer (N31): its send stays pending, and nothing more
// is received from it.
#pragma once

#include "connection.hpp"
#include "escape.hpp"
#include "workers.hpp"

#include <memory>
#include <mutex>
#include <unordered_map>

struct ServerOptions {
    std::size_t threads = 1;
    std::size_t max_connections = 1000;
    DWORD idle_seconds = 60; // 0: never
    bool quiet = false;      // no line per connection and message
};

class Server {
public:
    // Throws lab::Win32Error.
    Server(std::vector<Listener> listeners, const ServerOptions& options) : options_(options)
    {
        for (Listener& listener : listeners) {
            acceptors_.push_back(std::make_unique<Acceptor>(std::move(listener)));
            if (!CreateIoCompletionPort(acceptors_.back()->listener.socket.handle(), port_.get(), 0, 0)) // N22
                throw lab::Win32Error{"CreateIoCompletionPort", GetLastError()};
        }
    }

    // Serves until stop_requested is signalled, then stops cleanly. When this throws, nothing is left running.
    void run(HANDLE stop_requested)
    {
        try {
            workers_.start(options_.threads, [this] { work(); });
            serve_until(stop_requested);
        } catch (...) {
            stop();
            throw;
        }
        stop();
        lab::print_line("stopped : ", clients_, " clients, ", messages_, " messages, ", bytes_, " bytes");
    }

private:
    void serve_until(HANDLE stop_requested)
    {
        for (const auto& acceptor : acceptors_)
            lab::print_line("listening : ", acceptor->listener.address.text());
        DWORD waited = WAIT_TIMEOUT;
        while (waited == WAIT_TIMEOUT) { // once a second this thread looks after what no packet would wake anybody for
            for (const auto& acceptor : acceptors_)
                keep_accepting(*acceptor);
            cancel_idle();
            waited = WaitForSingleObject(stop_requested, 1000);
        }
        if (waited == WAIT_FAILED)
            throw lab::Win32Error{"WaitForSingleObject", GetLastError()};
    }

    // ------------------------------------------------ a connection's life, in order
    // N21: an accept that was refused is not asked for again here and now, which could go on for ever at full speed:
    // the next client's packet or the next second brings us back. (One that fails later has taken a client's reset.)
    void keep_accepting(Acceptor& acceptor)
    {
        while (!stopping_ && acceptor.waiting < Acceptor::most_waiting) {
            Socket fresh = tcp_socket(acceptor.listener.address.family());
            if (!fresh) {
                lab::report("WSASocket", socket_error());
                return;
            }
            auto connection = std::make_unique<Connection>(acceptor, std::move(fresh));
            Connection& adopted = *connection;
            {
                const std::lock_guard lock(mutex_);
                connections_.emplace(&adopted, std::move(connection));
            }
            ++acceptor.waiting;
            ++shares_;
            if (start(adopted) == Started::not_at_all)
                return;
        }
    }

    enum class Started { in_flight, done, not_at_all };

    // Asks for the connection's next request. in_flight: it must not be touched any more, another worker may already
    // have taken its packet and freed it. done: at once, no packet will come, it is still ours. not_at_all: no packet
    // will come either, and it is closed already (N16).
    Started start(Connection& connection)
    {
        AcquireSRWLockShared(&gate_);
        const bool stopping = stopping_;
        const int error = stopping ? WSA_OPERATION_ABORTED : submit(connection);
        ReleaseSRWLockShared(&gate_);
        if (error == WSA_IO_PENDING)
            return Started::in_flight;
        if (error == 0)
            return Started::done;
        if (connection.doing == Connection::Doing::accepting)
            --connection.acceptor.waiting;
        if (!stopping)
            lab::report(call_of(connection.doing), static_cast<DWORD>(error));
        close(connection);
        return Started::not_at_all;
    }

    // In rounds: what the port has, then a few turns for connections whose next message was here already. Without that
    // bound, clients that are never out of messages would keep those waiting whose packets lie in the port.
    void work()
    {
        constexpr int few_turns = 4, most_turns = 32;
        Inbox inbox(port_.get());
        for (int turns = few_turns;;) {
            const auto packets = inbox.take(ready_.empty() ? INFINITE : 0);
            for (const OVERLAPPED_ENTRY& packet : packets) {
                if (packet.lpOverlapped == nullptr) // posted when no connection was left: nothing can be ready either
                    return workers_.hand_stop_on();
                turn(static_cast<Connection&>(*packet.lpOverlapped));
            }
            turns = packets.empty() ? std::min(turns * 2, most_turns) : few_turns; // looks in vain become rarer
            for (int i = 0; i < turns && !ready_.empty(); ++i)
                if (Connection* const connection = ready_.pop())
                    turn(*connection);
        }
    }

    // A request of this connection has ended. Goes on to its next receive, and starts that. If the next message is here
    // already, no packet will wake anybody for it: the worker that puts it into the ready list looks there before it
    // waits at the port.
    void turn(Connection& connection)
    {
        Started started = Started::done;
        do { // a send that is done at once is part of this turn: what follows it is asked for right away
            if (!handle(connection))
                return;
            started = start(connection);
        } while (started == Started::done && connection.doing == Connection::Doing::sending);
        if (started == Started::done)
            ready_.push(connection);
    }

    // True: its next request is to be started. False: it is closed.
    bool handle(Connection& connection)
    {
        const bool accepting = connection.doing == Connection::Doing::accepting;
        if (accepting) {
            --connection.acceptor.waiting;
            keep_accepting(connection.acceptor); // N20: whatever came of this one
        }
        const auto [bytes, error] = outcome_of(connection);
        if (error != ERROR_SUCCESS)
            return close(connection); // N13: reset, cancelled or worse: the end of this connection, and of no other
        if (accepting)
            return accepted(connection);
        if (connection.doing == Connection::Doing::receiving)
            return received(connection, bytes);
        return sent(connection, bytes);
    }

    bool accepted(Connection& connection)
    {
        // N20: until this is set the socket does not know whom it is connected to: getpeername and shutdown fail.
        const SOCKET listener = connection.acceptor.listener.socket.get();
        Address peer;
        if (setsockopt(connection.socket.get(), SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT,
                       reinterpret_cast<const char*>(&listener), sizeof listener) != 0)
            return close_after("setsockopt", socket_error(), connection);
        if (getpeername(connection.socket.get(), peer.get(), &peer.length) != 0)
            return close_after("getpeername", socket_error(), connection);
        if (!CreateIoCompletionPort(connection.socket.handle(), port_.get(), 0, 0)) // N22
            return close_after("CreateIoCompletionPort", GetLastError(), connection);
        if (const DWORD error = skip_packets(connection); error != ERROR_SUCCESS)
            return close_after("SetFileCompletionNotificationModes", error, connection);
        connection.peer = peer.text();
        connection.active_since = GetTickCount64();
        ++clients_;
        say("클라이언트 접속 : ", connection.peer); // N32: UTF-8 from source to console, one write per line
        if (++live_ > options_.max_connections)
            return close(connection); // N31: counted, and gone
        connection.doing = Connection::Doing::receiving;
        return true;
    }

    bool received(Connection& connection, DWORD bytes)
    {
        if (bytes == 0) { // N14: the peer has finished sending. N15: all it sent has gone back already: now our end
            shutdown(connection.socket.get(), SD_SEND);
            return close(connection);
        }
        ++messages_;
        bytes_ += bytes;
        connection.active_since = GetTickCount64();
        if (!options_.quiet)
            say("수신된 data : ", escape({connection.buffer.data(), bytes}));
        connection.received = bytes;
        connection.sent = 0;
        connection.doing = Connection::Doing::sending; // N9: this is what makes it an echo
        return true;
    }

    bool sent(Connection& connection, DWORD bytes)
    {
        connection.active_since = GetTickCount64();
        connection.sent += bytes;
        if (connection.sent < connection.received)
            return true; // N38: a send may take less than it was given: again, for the rest
        connection.doing = Connection::Doing::receiving; // N10: again and again, until the end
        return true;
    }

    bool close_after(const char* call, DWORD error, Connection& connection)
    {
        lab::report(call, error);
        return close(connection);
    }

    // Frees the connection; its socket is closed with it. Only whoever holds it may call this: no request is in flight.
    bool close(Connection& connection)
    {
        if (connection.active_since != 0) {
            --live_;
            say("closed : ", connection.peer);
        }
        {
            const std::lock_guard lock(mutex_);
            connections_.erase(&connection);
        }
        release_share();
        return false; // it goes no further
    }

    // ------------------------------------------------ the idle limit, and the end
    // N31: who has neither sent nor read anything for too long is closed. The mutex keeps each from being freed here.
    void cancel_idle()
    {
        if (options_.idle_seconds == 0)
            return;
        const std::lock_guard lock(mutex_);
        const ULONGLONG now = GetTickCount64();
        for (const auto& [connection, owner] : connections_)
            if (idle_ms(*connection, now) >= options_.idle_seconds * 1000ULL)
                cancel(*connection);
    }

    // N28, N29: no new requests, cancel those in flight; whoever closes the last connection posts the stop.
    void stop()
    {
        AcquireSRWLockExclusive(&gate_); // waits for submits under way; whoever comes later finds the gate shut
        stopping_ = true;
        ReleaseSRWLockExclusive(&gate_);
        {
            const std::lock_guard lock(mutex_);
            for (const auto& [connection, owner] : connections_)
                cancel(*connection);
        }
        release_share(); // the server's own
        workers_.join();
    }

    void release_share()
    {
        if (--shares_ == 0) // no connection is left, no packet can come any more
            workers_.post_stop();
    }

    template <typename... Parts>
    void say(const Parts&... parts) const
    {
        if (!options_.quiet)
            lab::print_line(parts...);
    }

    ServerOptions options_;
    lab::Port port_ = new_port();
    std::vector<std::unique_ptr<Acceptor>> acceptors_; // closed after the connections, which refer to them
    Workers workers_{port_.get()};
    ReadyList ready_;
    std::mutex mutex_;
    std::unordered_map<Connection*, std::unique_ptr<Connection>> connections_; // every one, accepting or accepted
    SRWLOCK gate_ = SRWLOCK_INIT;        // shared: to submit; exclusive: to stop all submitting
    std::atomic<bool> stopping_ = false; // set behind the gate

    std::atomic<std::size_t> shares_ = 1; // one per connection, and the server's own
    std::atomic<std::size_t> live_ = 0;
    std::atomic<std::uint64_t> clients_ = 0;
    std::atomic<std::uint64_t> messages_ = 0;
    std::atomic<std::uint64_t> bytes_ = 0;
};
