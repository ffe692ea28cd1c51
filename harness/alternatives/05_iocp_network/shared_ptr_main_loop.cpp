// Stage 5 with connections that only shared_ptrs own, on main alone unless --threads asks for more. Ctrl-C is a packet
// that the console's handler posts; what is done at once has no packet (skip mode) and goes to the end of a queue.
//
// Why it is correct: a request that the kernel has keeps a pointer to its connection, which is taken out when it is
// over, and nowhere else; whoever holds another may use the connection after a submit. A thread that submits while the
// stop begins cancels for itself what the stop may have missed. Every connection has a share in the server, and the
// last one to go ends the loops. A lock of its own keeps the handler from a port that is closed.
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <winsock2.h>
#include <ws2tcpip.h>

#include <mswsock.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

namespace {

std::mutex line_mutex;

// The streams are fully buffered, so the flush is one write.
void say(std::FILE* stream, const std::string& line)
{
    const std::lock_guard lock(line_mutex);
    std::fputs((line + "\n").c_str(), stream);
    std::fflush(stream);
}

void complain(const char* call, DWORD code)
{
    wchar_t wide[256];
    const DWORD length =
        FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS | FORMAT_MESSAGE_MAX_WIDTH_MASK,
                       nullptr, code, 0, wide, 256, nullptr);
    char text[768];
    const int bytes = WideCharToMultiByte(CP_UTF8, 0, wide, static_cast<int>(length), text, 768, nullptr, nullptr);
    say(stderr, std::string("error : ") + call + " : " + std::to_string(code) + " : " +
                    (bytes > 0 ? std::string(text, static_cast<std::size_t>(bytes)) : "unknown"));
}

struct Failure {
    const char* call;
    DWORD code;
};

void need(bool done, const char* call)
{
    if (!done)
        throw Failure{call, GetLastError()};
}

void need_socket(bool done, const char* call)
{
    if (!done)
        throw Failure{call, static_cast<DWORD>(WSAGetLastError())};
}

// \n and \xNN for what would end or spoil the line.
std::string escaped(std::string_view text)
{
    const auto is_character = [](std::string_view bytes, std::size_t length) {
        wchar_t units[2];
        return bytes.size() >= length &&
               MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, bytes.data(), static_cast<int>(length), units, 2) > 0;
    };
    std::string line;
    for (std::size_t length = 1; !text.empty(); text.remove_prefix(length)) {
        for (length = 1; length <= 4 && !is_character(text, length); ++length) {
        }
        const auto byte = static_cast<unsigned char>(text.front());
        if (byte == '\n') {
            line += "\\n";
        } else if (length > 4 || byte < ' ' || byte == '\\' || byte == 0x7F) {
            char hex[5];
            std::snprintf(hex, sizeof hex, "\\x%02x", byte);
            line += hex;
            length = 1;
        } else {
            line += text.substr(0, length);
        }
    }
    return line;
}

std::string to_text(const sockaddr* address)
{
    wchar_t host[INET6_ADDRSTRLEN] = L"?";
    char utf8[INET6_ADDRSTRLEN] = "?";
    const bool v6 = address->sa_family == AF_INET6;
    const auto* const in = reinterpret_cast<const SOCKADDR_IN*>(address);
    const auto* const in6 = reinterpret_cast<const SOCKADDR_IN6*>(address);
    InetNtopW(address->sa_family, v6 ? static_cast<const void*>(&in6->sin6_addr) : &in->sin_addr, host,
              INET6_ADDRSTRLEN);
    WideCharToMultiByte(CP_UTF8, 0, host, -1, utf8, sizeof utf8, nullptr, nullptr);
    return (v6 ? "[" + std::string(utf8) + "]:" : std::string(utf8) + ":") + std::to_string(ntohs(in->sin_port));
}

struct Options {
    std::uint64_t port = 4000;
    std::uint64_t threads = 1;
    std::uint64_t max_connections = 1000;
    std::uint64_t idle_seconds = 60;
    bool quiet = false;
};

class Socket {
public:
    explicit Socket(int family)
        : socket_(WSASocketW(family, SOCK_STREAM, IPPROTO_TCP, nullptr, 0,
                             WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT))
    {
    }
    Socket(const Socket&) = delete;
    Socket& operator=(const Socket&) = delete;
    ~Socket()
    {
        if (socket_ != INVALID_SOCKET)
            closesocket(socket_);
    }
    operator SOCKET() const { return socket_; }
    HANDLE handle() const { return reinterpret_cast<HANDLE>(socket_); }

private:
    SOCKET socket_;
};

struct Listener {
    explicit Listener(int family) : socket(family)
    {
        address.ss_family = static_cast<decltype(address.ss_family)>(family);
    }
    Socket socket;
    SOCKADDR_STORAGE address{};
    LPFN_ACCEPTEX accept_ex = nullptr;
    LPFN_GETACCEPTEXSOCKADDRS get_addresses = nullptr;
    std::atomic<int> waiting = 0;
};

struct Connection;
using Shared = std::shared_ptr<Connection>;
using Ready = std::deque<Shared>; // whose requests are over

struct Request : OVERLAPPED {
    Shared keeper; // while the kernel has the request
};

constexpr DWORD address_bytes = sizeof(SOCKADDR_STORAGE) + 16;

struct Connection {
    enum class Phase { accepting, receiving, sending };
    explicit Connection(Listener& from) : listener(from), socket(from.address.ss_family) {}
    SOCKET requests_on() const { return phase == Phase::accepting ? listener.socket : socket; }

    Listener& listener;
    Socket socket;
    Request request{};
    Phase phase = Phase::accepting;
    bool skips = false; // a request that is done at once has no packet
    std::string peer;
    std::atomic<ULONGLONG> active_since = 0; // 0: not yet accepted
    DWORD received = 0;
    DWORD sent = 0;
    std::array<char, 1024> buffer;
};

enum Key : ULONG_PTR { key_request, key_stop, key_wake };

[[noreturn]] void give_up() // what the kernel has can no longer be waited for: it must not be freed
{
    ExitProcess(1);
}

void post(HANDLE port, Key key)
{
    for (int attempt = 1; !PostQueuedCompletionStatus(port, 0, key, nullptr); ++attempt) {
        complain("PostQueuedCompletionStatus", GetLastError());
        if (attempt == 2)
            give_up();
    }
}

class Server {
public:
    Server(const Options& options, HANDLE port) : options_(options), port_(port) {}

    void run()
    {
        for (int attempt = 1; listeners_.empty(); ++attempt) {
            try {
                listen_on(AF_INET);
                listen_on(AF_INET6);
                need_socket(!listeners_.empty(), "bind");
            } catch (const Failure& failure) { // port 0, free in one family and taken in the other: another one
                const bool taken = failure.code == WSAEADDRINUSE || failure.code == WSAEACCES;
                if (options_.port != 0 || listeners_.empty() || !taken || attempt == 16)
                    throw;
                listeners_.clear();
            }
        }
        std::vector<std::thread> others;
        DWORD error = ERROR_SUCCESS;
        try {
            while (others.size() + 1 < options_.threads)
                others.emplace_back([this] { loop(false); });
            for (const auto& listener : listeners_)
                keep_accepting(*listener);
            for (const auto& listener : listeners_)
                say(stdout, "listening : " + to_text(reinterpret_cast<const sockaddr*>(&listener->address)));
        } catch (const std::system_error& failure) {
            error = static_cast<DWORD>(failure.code().value());
            stop();
        }
        loop(true);
        for (std::thread& other : others)
            other.join();
        if (error != ERROR_SUCCESS)
            throw Failure{"std::thread", error};
        say(stdout, "stopped : " + std::to_string(clients_) + " clients, " + std::to_string(messages_) + " messages, " +
                        std::to_string(bytes_) + " bytes");
    }

private:
    // A machine that lacks the family does without.
    void listen_on(int family)
    {
        auto listener = std::make_unique<Listener>(family);
        const SOCKET socket = listener->socket;
        if (socket == INVALID_SOCKET && WSAGetLastError() == WSAEAFNOSUPPORT)
            return;
        need_socket(socket != INVALID_SOCKET, "WSASocket");
        auto* const address = reinterpret_cast<sockaddr*>(&listener->address);
        auto& v4 = reinterpret_cast<SOCKADDR_IN&>(listener->address);
        auto& v6 = reinterpret_cast<SOCKADDR_IN6&>(listener->address);
        v4.sin_port = listeners_.empty() ? htons(static_cast<std::uint16_t>(options_.port)) // the same place in both
                                         : reinterpret_cast<SOCKADDR_IN&>(listeners_[0]->address).sin_port;
        if (family == AF_INET)
            v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        else
            v6.sin6_addr.s6_addr[15] = 1;
        const BOOL on = TRUE;
        const char* const value = reinterpret_cast<const char*>(&on);
        need_socket(setsockopt(socket, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, value, sizeof on) == 0, "setsockopt");
        if (family == AF_INET6)
            need_socket(setsockopt(socket, IPPROTO_IPV6, IPV6_V6ONLY, value, sizeof on) == 0, "setsockopt");
        if (bind(socket, address, family == AF_INET ? int{sizeof v4} : int{sizeof v6}) != 0) {
            if (WSAGetLastError() == WSAEADDRNOTAVAIL)
                return;
            need_socket(false, "bind");
        }
        need_socket(listen(socket, SOMAXCONN) == 0, "listen");
        int length = sizeof listener->address;
        need_socket(getsockname(socket, address, &length) == 0, "getsockname");
        const auto load = [&](GUID id, auto& function) {
            DWORD bytes = 0;
            need_socket(WSAIoctl(socket, SIO_GET_EXTENSION_FUNCTION_POINTER, &id, sizeof id, &function, sizeof function,
                                 &bytes, nullptr, nullptr) == 0,
                        "WSAIoctl");
        };
        load(WSAID_ACCEPTEX, listener->accept_ex);
        load(WSAID_GETACCEPTEXSOCKADDRS, listener->get_addresses);
        need(CreateIoCompletionPort(listener->socket.handle(), port_, key_request, 0) != nullptr,
             "CreateIoCompletionPort");
        listeners_.push_back(std::move(listener));
    }

    // Two accepts for each listener. What is refused is asked for again by the next look around.
    void keep_accepting(Listener& listener)
    {
        while (listener.waiting.fetch_add(1) < 2 && ask_for_one(listener)) {
        }
        --listener.waiting; // the one that was not made
    }

    bool ask_for_one(Listener& listener)
    {
        if (stopping_)
            return false;
        ++shares_;
        const Shared connection(new Connection(listener), [this](Connection* last) { end(last); });
        if (connection->socket == INVALID_SOCKET)
            return refused("WSASocket");
        {
            const std::lock_guard lock(registry_mutex_);
            registry_.emplace(connection.get(), connection);
        }
        Ready none; // a listener has a packet for every accept
        return submit(connection, none);
    }

    static bool refused(const char* call)
    {
        complain(call, static_cast<DWORD>(WSAGetLastError()));
        return false;
    }

    // False: it was not made, and who lets go of the connection ends it.
    bool submit(const Shared& shared, Ready& ready)
    {
        Connection& connection = *shared;
        if (stopping_)
            return false;
        const bool skips = connection.skips;
        const auto phase = connection.phase; // after the submit others may change it
        const char* call = "AcceptEx";
        bool done = false;
        DWORD flags = 0, bytes = 0;
        WSABUF part{static_cast<ULONG>(connection.buffer.size()), connection.buffer.data()};
        static_cast<OVERLAPPED&>(connection.request) = OVERLAPPED{};
        connection.request.keeper = shared;
        if (phase == Connection::Phase::accepting) {
            done = connection.listener.accept_ex(connection.listener.socket, connection.socket, part.buf, 0,
                                                 address_bytes, address_bytes, &bytes, &connection.request);
        } else if (phase == Connection::Phase::receiving) {
            call = "WSARecv";
            done = WSARecv(connection.socket, &part, 1, nullptr, &flags, &connection.request, nullptr) == 0;
        } else {
            call = "WSASend";
            part = {connection.received - connection.sent, part.buf + connection.sent};
            done = WSASend(connection.socket, &part, 1, nullptr, 0, &connection.request, nullptr) == 0;
        }
        if (done && skips) {
            ready.push_back(std::move(connection.request.keeper));
        } else if (done || WSAGetLastError() == WSA_IO_PENDING) {
            if (stopping_)
                cancel(connection);
        } else {
            const DWORD error = static_cast<DWORD>(WSAGetLastError());
            connection.request.keeper.reset();
            complain(call, error);
            return false;
        }
        return true;
    }

    static void cancel(Connection& connection)
    {
        // Of an accept, or of a connection: one of the two has it, if it is not over.
        for (const HANDLE handle : {connection.listener.socket.handle(), connection.socket.handle()})
            for (int attempt = 1; !CancelIoEx(handle, &connection.request); ++attempt) {
                const DWORD error = GetLastError();
                if (error == ERROR_NOT_FOUND)
                    break;
                complain("CancelIoEx", error);
                if (attempt == 2)
                    give_up();
            }
    }

    // Nobody has it any more.
    void end(Connection* connection)
    {
        {
            const std::lock_guard lock(registry_mutex_);
            registry_.erase(connection);
        }
        if (!connection->peer.empty()) {
            report("closed : " + connection->peer);
            --live_;
        }
        delete connection;
        release_share();
    }

    void release_share()
    {
        if (--shares_ > 0)
            return;
        finished_ = true;
        post(port_, key_wake);
    }

    // ------------------------------------------------ whose request is over; to let go of it is to end it

    void handle(const Shared& shared, Ready& ready)
    {
        Connection& connection = *shared;
        DWORD bytes = 0, flags = 0;
        const bool succeeded =
            WSAGetOverlappedResult(connection.requests_on(), &connection.request, &bytes, FALSE, &flags);
        const DWORD error = succeeded ? ERROR_SUCCESS : static_cast<DWORD>(WSAGetLastError());
        if (connection.phase == Connection::Phase::accepting) {
            --connection.listener.waiting;
            keep_accepting(connection.listener);
        }
        if (error != ERROR_SUCCESS)
            return;
        try {
            if (connection.phase == Connection::Phase::accepting) {
                if (!accepted(connection))
                    return;
                connection.phase = Connection::Phase::receiving;
            } else if (connection.phase == Connection::Phase::sending) {
                connection.sent += bytes;
                if (connection.sent == connection.received)
                    connection.phase = Connection::Phase::receiving;
            } else if (bytes == 0) {
                shutdown(connection.socket, SD_SEND); // it has all it sent
                return;
            } else {
                ++messages_;
                bytes_ += bytes;
                report("수신된 data : ", {connection.buffer.data(), bytes});
                connection.received = bytes;
                connection.sent = 0;
                connection.phase = Connection::Phase::sending;
            }
            connection.active_since = GetTickCount64();
            submit(shared, ready);
        } catch (const Failure& failure) {
            complain(failure.call, failure.code);
        }
    }

    // False: it is one too many.
    bool accepted(Connection& connection)
    {
        const SOCKET listener = connection.listener.socket;
        need_socket(setsockopt(connection.socket, SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT,
                               reinterpret_cast<const char*>(&listener), sizeof listener) == 0,
                    "setsockopt");
        need(CreateIoCompletionPort(connection.socket.handle(), port_, key_request, 0) != nullptr,
             "CreateIoCompletionPort");
        // Only where the handle is the system's own is it certain that there is no packet.
        WSAPROTOCOL_INFOW provider{};
        int length = sizeof provider;
        need_socket(getsockopt(connection.socket, SOL_SOCKET, SO_PROTOCOL_INFOW, reinterpret_cast<char*>(&provider),
                               &length) == 0,
                    "getsockopt");
        if (provider.dwServiceFlags1 & XP1_IFS_HANDLES) {
            need(SetFileCompletionNotificationModes(connection.socket.handle(), FILE_SKIP_COMPLETION_PORT_ON_SUCCESS) !=
                     0,
                 "SetFileCompletionNotificationModes");
            connection.skips = true;
        }
        sockaddr *here = nullptr, *peer = nullptr;
        int here_length = 0, peer_length = 0;
        connection.listener.get_addresses(connection.buffer.data(), 0, address_bytes, address_bytes, &here,
                                          &here_length, &peer, &peer_length);
        connection.peer = to_text(peer);
        ++clients_;
        const bool fits = ++live_ <= options_.max_connections;
        report("클라이언트 접속 : " + connection.peer);
        return fits;
    }

    // ------------------------------------------------ packets

    void loop(bool looks_around)
    {
        Ready ready;
        ULONGLONG next_look = GetTickCount64() + 1000;
        for (bool failed_before = false; !finished_;) {
            const ULONGLONG now = GetTickCount64();
            DWORD timeout = ready.empty() ? INFINITE : 0;
            if (looks_around && ready.empty())
                timeout = now < next_look ? static_cast<DWORD>(next_look - now) : 0;
            std::array<OVERLAPPED_ENTRY, 16> entries;
            ULONG count = 0;
            const BOOL taken = GetQueuedCompletionStatusEx(port_, entries.data(), 16, &count, timeout, FALSE);
            const DWORD error = taken ? ERROR_SUCCESS : GetLastError();
            const bool failed = !taken && error != WAIT_TIMEOUT;
            if (failed) {
                complain("GetQueuedCompletionStatusEx", error);
                if (failed_before)
                    give_up();
            }
            failed_before = failed;
            for (ULONG i = 0; taken && i < count; ++i) {
                if (entries[i].lpOverlapped != nullptr)
                    ready.push_back(std::move(static_cast<Request*>(entries[i].lpOverlapped)->keeper));
                else if (entries[i].lpCompletionKey == key_stop)
                    stop();
            }
            // Those only that are there now: who is done at once again and again keeps nobody waiting.
            for (std::size_t left = ready.size(); left > 0; --left) {
                const Shared connection = std::move(ready.front());
                ready.pop_front();
                handle(connection, ready);
            }
            if (looks_around && GetTickCount64() >= next_look) {
                next_look = GetTickCount64() + 1000;
                for (const auto& listener : listeners_)
                    keep_accepting(*listener);
                if (options_.idle_seconds > 0)
                    cancel_idle(options_.idle_seconds * 1000);
            }
        }
        post(port_, key_wake); // for the next one; a packet that nobody takes goes with the port
    }

    void cancel_idle(ULONGLONG limit_ms)
    {
        for (const Shared& connection : all()) {
            const ULONGLONG since = connection->active_since;
            if (since != 0 && GetTickCount64() - since >= limit_ms)
                cancel(*connection);
        }
    }

    // The last pointer may go with this one, so it is not to go under the lock.
    std::vector<Shared> all()
    {
        std::vector<Shared> connections;
        const std::lock_guard lock(registry_mutex_);
        for (const auto& [address, weak] : registry_)
            if (Shared connection = weak.lock())
                connections.push_back(std::move(connection));
        return connections;
    }

    void stop()
    {
        if (stopping_.exchange(true))
            return;
        for (const Shared& connection : all())
            cancel(*connection);
        release_share(); // the server's own
    }

    void report(std::string line, std::string_view data = {}) const
    {
        if (!options_.quiet)
            say(stdout, line + escaped(data));
    }

    const Options options_;
    const HANDLE port_;
    std::vector<std::unique_ptr<Listener>> listeners_;
    std::mutex registry_mutex_;
    std::unordered_map<Connection*, std::weak_ptr<Connection>> registry_;
    std::atomic<bool> stopping_ = false;
    std::atomic<bool> finished_ = false;
    std::atomic<std::uint64_t> shares_ = 1; // one for each connection, and the server's own
    std::atomic<std::uint64_t> live_ = 0;
    std::atomic<std::uint64_t> clients_ = 0;
    std::atomic<std::uint64_t> messages_ = 0;
    std::atomic<std::uint64_t> bytes_ = 0;
};

// The console's thread may come at any moment, also when the port is about to be closed.
SRWLOCK console_lock = SRWLOCK_INIT;
HANDLE console_port = nullptr;

BOOL WINAPI on_console_event(DWORD event)
{
    if (event != CTRL_C_EVENT && event != CTRL_BREAK_EVENT)
        return FALSE;
    AcquireSRWLockShared(&console_lock);
    if (console_port != nullptr)
        post(console_port, key_stop);
    ReleaseSRWLockShared(&console_lock);
    return TRUE;
}

bool number(std::wstring_view text, std::uint64_t least, std::uint64_t most, std::uint64_t& value)
{
    value = 0;
    for (const wchar_t digit : text) {
        if (digit < L'0' || digit > L'9' || value > (most - static_cast<std::uint64_t>(digit - L'0')) / 10)
            return false;
        value = value * 10 + static_cast<std::uint64_t>(digit - L'0');
    }
    return !text.empty() && value >= least;
}

bool parse(int argc, wchar_t** argv, Options& options)
{
    for (int i = 1; i < argc; ++i) {
        const std::wstring_view name = argv[i];
        const std::wstring_view value = i + 1 < argc ? argv[i + 1] : L"";
        if (name == L"--quiet")
            options.quiet = true;
        else if ((name == L"--port" && number(value, 0, 65535, options.port)) ||
                 (name == L"--threads" && number(value, 1, 256, options.threads)) ||
                 (name == L"--max-connections" && number(value, 0, UINT64_MAX, options.max_connections)) ||
                 (name == L"--idle-seconds" && number(value, 0, UINT32_MAX, options.idle_seconds)) ||
                 (name == L"--address" && value == L"loopback"))
            ++i;
        else
            return false;
    }
    return true;
}

} // namespace

int wmain(int argc, wchar_t** argv)
{
    std::setvbuf(stdout, nullptr, _IOFBF, 1 << 16);
    std::setvbuf(stderr, nullptr, _IOFBF, 1 << 16);
    Options options;
    if (!parse(argc, argv, options)) {
        say(stderr, "usage : iocp_network [--port N] [--address loopback] [--threads N] [--max-connections N] "
                    "[--idle-seconds S] [--quiet]");
        return 2;
    }
    SetConsoleOutputCP(CP_UTF8);
    WSADATA data;
    if (const int error = WSAStartup(MAKEWORD(2, 2), &data); error != 0) {
        complain("WSAStartup", static_cast<DWORD>(error));
        return 1;
    }
    int result = 1;
    const HANDLE port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, nullptr, 0, 0);
    try {
        need(port != nullptr, "CreateIoCompletionPort");
        console_port = port;
        SetConsoleCtrlHandler(on_console_event, TRUE); // and it stays: a second Ctrl-C is no reason to die
        Server(options, port).run();
        result = 0;
    } catch (const Failure& failure) {
        complain(failure.call, failure.code);
    }
    AcquireSRWLockExclusive(&console_lock);
    console_port = nullptr;
    ReleaseSRWLockExclusive(&console_lock);
    if (port != nullptr)
        CloseHandle(port);
    WSACleanup();
    return result;
}
