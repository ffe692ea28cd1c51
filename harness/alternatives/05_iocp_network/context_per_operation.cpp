// Stage 5 with a context for each operation, and the connection's address as the completion key. A connection has a
// receive and a send of its own, so it receives the next bytes into one buffer while the other is still being sent.
//
// Why it is correct: a connection counts references, one for each operation in flight and one for whoever handles it;
// the last one frees it. Its mutex guards socket and state, so a socket is never closed under a submit. To stop, main
// closes all sockets, which cancels what is in flight, sends the workers home and takes the packets that are left
// itself; the listeners, in which the accepts live, and the port go after the last packet.
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <winsock2.h>
#include <ws2tcpip.h>

#include <mswsock.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <unordered_set>
#include <utility>
#include <vector>

namespace {

void write(DWORD where, std::string line)
{
    line += '\n';
    DWORD written = 0;
    WriteFile(GetStdHandle(where), line.data(), static_cast<DWORD>(line.size()), &written, nullptr);
}

void complain(const char* call, DWORD code)
{
    wchar_t wide[256];
    const DWORD length =
        FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS | FORMAT_MESSAGE_MAX_WIDTH_MASK,
                       nullptr, code, 0, wide, 256, nullptr);
    char text[768];
    const int bytes = WideCharToMultiByte(CP_UTF8, 0, wide, static_cast<int>(length), text, 768, nullptr, nullptr);
    write(STD_ERROR_HANDLE, std::string("error : ") + call + " : " + std::to_string(code) + " : " +
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

// A line end as \n, any other control byte and what is no UTF-8 as \xNN.
std::string escaped(std::string_view text)
{
    std::string line;
    for (std::size_t at = 0, length = 1; at < text.size(); at += length) {
        const auto is_character = [&](std::size_t bytes) {
            wchar_t units[2];
            return at + bytes <= text.size() && MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, text.data() + at,
                                                                    static_cast<int>(bytes), units, 2) > 0;
        };
        for (length = 1; length <= 4 && !is_character(length); ++length) {
        }
        const auto byte = static_cast<unsigned char>(text[at]);
        if (byte == '\n') {
            line += "\\n";
        } else if (length > 4 || byte < ' ' || byte == '\\' || byte == 0x7F) {
            constexpr char digits[] = "0123456789abcdef";
            line += {'\\', 'x', digits[byte / 16], digits[byte % 16]};
            length = 1;
        } else {
            line += text.substr(at, length);
        }
    }
    return line;
}

struct Options {
    std::uint64_t port = 4000;
    std::uint64_t threads = std::max(1U, std::thread::hardware_concurrency());
    std::uint64_t max_connections = 1000;
    std::uint64_t idle_seconds = 60;
    bool quiet = false;
};

struct Address {
    SOCKADDR_STORAGE storage{};
    int length = sizeof(SOCKADDR_STORAGE);

    sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
    std::string text()
    {
        char host[64] = "", service[16] = "";
        getnameinfo(get(), length, host, sizeof host, service, sizeof service, NI_NUMERICHOST | NI_NUMERICSERV);
        return (storage.ss_family == AF_INET6 ? "[" + std::string(host) + "]:" : std::string(host) + ":") + service;
    }
};

enum class Kind { accept, receive, send };

struct Operation : OVERLAPPED {
    explicit Operation(Kind its_kind) : OVERLAPPED{}, kind(its_kind) {}
    void clear() { static_cast<OVERLAPPED&>(*this) = OVERLAPPED{}; }

    Kind kind;
    bool in_flight = false;
};

constexpr DWORD address_bytes = sizeof(SOCKADDR_STORAGE) + 16;

struct Accept : Operation {
    Accept() : Operation(Kind::accept) {}
    SOCKET socket = INVALID_SOCKET;
    char addresses[2 * address_bytes];
};

// The completion key of the accepts, which live in it.
struct Listener {
    ~Listener() { close(); }
    void close()
    {
        const std::lock_guard lock(mutex);
        if (socket != INVALID_SOCKET)
            closesocket(std::exchange(socket, INVALID_SOCKET));
    }

    std::mutex mutex; // for all of it
    SOCKET socket = INVALID_SOCKET;
    Address address;
    LPFN_ACCEPTEX accept_ex = nullptr;
    std::array<Accept, 4> accepts;
};

// The completion key of the receive and the send.
struct Connection {
    explicit Connection(SOCKET its_socket) : socket(its_socket) {}

    std::atomic<int> references = 1;
    std::mutex mutex; // for the rest
    SOCKET socket;    // INVALID_SOCKET once it is closed
    std::string peer; // empty while it counts for nothing
    bool client_ended = false;
    ULONGLONG active_since = GetTickCount64();
    Operation receive{Kind::receive};
    Operation send{Kind::send};
    std::array<char, 1024> in;
    std::array<char, 1024> out;
    DWORD waiting = 0; // bytes in `in` that wait for the send to be done
    DWORD length = 0;  // bytes in `out`
    DWORD sent = 0;
};

SOCKET new_socket(int family)
{
    return WSASocketW(family, SOCK_STREAM, IPPROTO_TCP, nullptr, 0, WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
}

class Server {
public:
    explicit Server(const Options& options) : options_(options) { need(port_ != nullptr, "CreateIoCompletionPort"); }
    ~Server() { CloseHandle(port_); }

    void open()
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
    }

    void run(HANDLE stop_requested)
    {
        try {
            while (workers_.size() < options_.threads)
                workers_.emplace_back([this] { work(); });
        } catch (const std::system_error& error) {
            stop();
            throw Failure{"std::thread", static_cast<DWORD>(error.code().value())};
        }
        ask_for_accepts();
        for (const auto& listener : listeners_)
            write(STD_OUTPUT_HANDLE, "listening : " + listener->address.text());
        DWORD waited = WAIT_TIMEOUT;
        while ((waited = WaitForSingleObject(stop_requested, 1000)) == WAIT_TIMEOUT) {
            ask_for_accepts(); // those that were refused
            close_connections(options_.idle_seconds == 0 ? UINT64_MAX : options_.idle_seconds * 1000);
        }
        const DWORD error = GetLastError();
        stop();
        if (waited != WAIT_OBJECT_0)
            throw Failure{"WaitForSingleObject", error};
        write(STD_OUTPUT_HANDLE, "stopped : " + std::to_string(clients_) + " clients, " + std::to_string(messages_) +
                                     " messages, " + std::to_string(bytes_) + " bytes");
    }

private:
    // A machine that lacks the family does without.
    void listen_on(int family)
    {
        auto listener = std::make_unique<Listener>();
        Address& address = listener->address;
        auto& v4 = reinterpret_cast<SOCKADDR_IN&>(address.storage);
        auto& v6 = reinterpret_cast<SOCKADDR_IN6&>(address.storage);
        const auto port = static_cast<std::uint16_t>(options_.port);
        v4.sin_family = static_cast<decltype(v4.sin_family)>(family);
        // Family and port stand at the same place in both.
        v4.sin_port =
            listeners_.empty() ? htons(port) : reinterpret_cast<SOCKADDR_IN&>(listeners_[0]->address.storage).sin_port;
        if (family == AF_INET)
            v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        else
            v6.sin6_addr.s6_addr[15] = 1;
        const SOCKET socket = listener->socket = new_socket(family);
        if (socket == INVALID_SOCKET && WSAGetLastError() == WSAEAFNOSUPPORT)
            return;
        need_socket(socket != INVALID_SOCKET, "WSASocket");
        const DWORD on = 1;
        const char* const value = reinterpret_cast<const char*>(&on);
        need_socket(setsockopt(socket, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, value, sizeof on) == 0, "setsockopt");
        if (family == AF_INET6)
            need_socket(setsockopt(socket, IPPROTO_IPV6, IPV6_V6ONLY, value, sizeof on) == 0, "setsockopt");
        if (bind(socket, address.get(), family == AF_INET ? int{sizeof v4} : int{sizeof v6}) != 0) {
            if (WSAGetLastError() == WSAEADDRNOTAVAIL)
                return;
            need_socket(false, "bind");
        }
        need_socket(listen(socket, SOMAXCONN) == 0, "listen");
        need_socket(getsockname(socket, address.get(), &address.length) == 0, "getsockname");
        GUID id = WSAID_ACCEPTEX;
        LPFN_ACCEPTEX& accept_ex = listener->accept_ex;
        DWORD bytes = 0;
        need_socket(WSAIoctl(socket, SIO_GET_EXTENSION_FUNCTION_POINTER, &id, sizeof id, &accept_ex, sizeof accept_ex,
                             &bytes, nullptr, nullptr) == 0,
                    "WSAIoctl");
        associate(socket, listener.get());
        listeners_.push_back(std::move(listener));
    }

    void associate(SOCKET socket, void* key)
    {
        need(CreateIoCompletionPort(reinterpret_cast<HANDLE>(socket), port_, reinterpret_cast<ULONG_PTR>(key), 0) !=
                 nullptr,
             "CreateIoCompletionPort");
    }

    void ask_for_accepts()
    {
        for (const auto& listener : listeners_) {
            const std::lock_guard lock(listener->mutex);
            for (Accept& accept : listener->accepts)
                if (!accept.in_flight)
                    ask_for(*listener, accept);
        }
    }

    // Needs the listener's mutex. What is refused is asked for again by main, within a second.
    void ask_for(Listener& listener, Accept& accept)
    {
        accept.socket = new_socket(listener.address.storage.ss_family);
        if (accept.socket == INVALID_SOCKET)
            return complain("WSASocket", static_cast<DWORD>(WSAGetLastError()));
        accept.clear();
        accept.in_flight = true;
        ++operations_;
        DWORD bytes = 0;
        if (listener.accept_ex(listener.socket, accept.socket, accept.addresses, 0, address_bytes, address_bytes,
                               &bytes, &accept))
            return;
        const int error = WSAGetLastError();
        if (error == WSA_IO_PENDING)
            return;
        --operations_;
        accept.in_flight = false;
        closesocket(accept.socket);
        complain("AcceptEx", static_cast<DWORD>(error));
    }

    void accepted(Listener& listener, Accept& accept, DWORD error)
    {
        auto* const connection = new Connection(accept.socket);
        try {
            const std::lock_guard lock(listener.mutex);
            accept.in_flight = false;
            if (listener.socket == INVALID_SOCKET)
                error = WSA_OPERATION_ABORTED; // we stop
            else
                ask_for(listener, accept);
            if (error == ERROR_SUCCESS)
                need_socket(setsockopt(connection->socket, SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT,
                                       reinterpret_cast<const char*>(&listener.socket), sizeof listener.socket) == 0,
                            "setsockopt");
        } catch (const Failure& failure) {
            complain(failure.call, error = failure.code);
        }
        {
            const std::lock_guard registry(registry_mutex_);
            const std::lock_guard lock(connection->mutex);
            registry_.insert(connection);
            if (error != ERROR_SUCCESS || stopping_)
                close(*connection);
            else
                welcome(*connection);
        }
        release(*connection);
    }

    // ------------------------------------------------ a connection; all but release need its mutex

    void welcome(Connection& connection)
    {
        try {
            Address peer;
            need_socket(getpeername(connection.socket, peer.get(), &peer.length) == 0, "getpeername");
            associate(connection.socket, &connection);
            connection.peer = peer.text();
        } catch (const Failure& failure) {
            complain(failure.call, failure.code);
            return close(connection);
        }
        ++clients_;
        say("클라이언트 접속 : " + connection.peer);
        if (++live_ > options_.max_connections)
            close(connection);
        else
            advance(connection);
    }

    // Starts whatever can be done next.
    void advance(Connection& connection)
    {
        if (connection.waiting > 0 && !connection.send.in_flight) {
            std::swap(connection.in, connection.out); // nothing is in flight in either
            connection.length = std::exchange(connection.waiting, 0);
            connection.sent = 0;
            submit(connection, connection.send);
        }
        if (connection.waiting == 0 && !connection.receive.in_flight && !connection.client_ended)
            submit(connection, connection.receive);
        if (connection.client_ended && !connection.send.in_flight && connection.socket != INVALID_SOCKET) {
            shutdown(connection.socket, SD_SEND);
            close(connection);
        }
    }

    void submit(Connection& connection, Operation& operation)
    {
        if (connection.socket == INVALID_SOCKET)
            return;
        const bool sends = operation.kind == Kind::send;
        WSABUF part{static_cast<ULONG>(connection.in.size()), connection.in.data()};
        if (sends)
            part = {connection.length - connection.sent, connection.out.data() + connection.sent};
        operation.clear();
        operation.in_flight = true;
        ++operations_;
        ++connection.references;
        DWORD flags = 0;
        if ((sends ? WSASend(connection.socket, &part, 1, nullptr, 0, &operation, nullptr)
                   : WSARecv(connection.socket, &part, 1, nullptr, &flags, &operation, nullptr)) == 0)
            return;
        const int error = WSAGetLastError();
        if (error == WSA_IO_PENDING)
            return;
        --connection.references; // there is no packet; the last one it cannot be, the caller's is left
        --operations_;
        operation.in_flight = false;
        complain(sends ? "WSASend" : "WSARecv", static_cast<DWORD>(error));
        close(connection);
    }

    // Cancels what is in flight; its packets still come.
    void close(Connection& connection)
    {
        if (connection.socket == INVALID_SOCKET)
            return;
        if (!connection.peer.empty()) {
            say("closed : " + connection.peer);
            --live_;
        }
        closesocket(std::exchange(connection.socket, INVALID_SOCKET));
    }

    void completed(Connection& connection, Operation& operation, DWORD bytes, DWORD error)
    {
        const std::lock_guard lock(connection.mutex);
        operation.in_flight = false;
        if (error != ERROR_SUCCESS || connection.socket == INVALID_SOCKET)
            return close(connection);
        connection.active_since = GetTickCount64();
        if (operation.kind == Kind::send) {
            connection.sent += bytes;
            if (connection.sent < connection.length)
                submit(connection, operation);
        } else if (bytes == 0) {
            connection.client_ended = true;
        } else {
            ++messages_;
            bytes_ += bytes;
            say("수신된 data : ", {connection.in.data(), bytes});
            connection.waiting = bytes;
        }
        advance(connection);
    }

    void release(Connection& connection)
    {
        if (--connection.references > 0)
            return;
        {
            const std::lock_guard registry(registry_mutex_); // nobody who goes through the registry has it in hand
            registry_.erase(&connection);
        }
        delete &connection;
    }

    void close_connections(std::uint64_t idle_ms)
    {
        const std::lock_guard registry(registry_mutex_);
        for (Connection* const connection : registry_) {
            const std::lock_guard lock(connection->mutex);
            if (GetTickCount64() - connection->active_since >= idle_ms)
                close(*connection);
        }
    }

    // ------------------------------------------------ packets

    // False: a worker may go home.
    bool take_packet()
    {
        DWORD bytes = 0;
        ULONG_PTR key = 0;
        OVERLAPPED* overlapped = nullptr;
        DWORD error = ERROR_SUCCESS;
        for (int attempt = 1;; ++attempt) {
            if (GetQueuedCompletionStatus(port_, &bytes, &key, &overlapped, INFINITE))
                break;
            error = GetLastError();
            if (overlapped != nullptr)
                break;
            complain("GetQueuedCompletionStatus", error);
            if (attempt == 2)
                ExitProcess(1); // the packets are out of reach: nothing they belong to may be freed
            error = ERROR_SUCCESS;
        }
        if (overlapped == nullptr)
            return false;
        auto& operation = static_cast<Operation&>(*overlapped);
        if (operation.kind == Kind::accept) {
            accepted(*reinterpret_cast<Listener*>(key), static_cast<Accept&>(operation), error);
        } else {
            auto& connection = *reinterpret_cast<Connection*>(key);
            completed(connection, operation, bytes, error);
            release(connection);
        }
        --operations_;
        return true;
    }

    void work()
    {
        while (take_packet()) {
        }
    }

    void stop()
    {
        for (const auto& listener : listeners_)
            listener->close();
        {
            const std::lock_guard registry(registry_mutex_);
            stopping_ = true; // who comes now is closed by who accepts him
        }
        close_connections(0);
        for (std::size_t i = 0; i < workers_.size(); ++i)
            for (int attempt = 1; !PostQueuedCompletionStatus(port_, 0, 0, nullptr); ++attempt) {
                complain("PostQueuedCompletionStatus", GetLastError());
                if (attempt == 2)
                    ExitProcess(1);
            }
        for (std::thread& worker : workers_)
            worker.join();
        while (operations_ > 0) // what the workers have left
            take_packet();
    }

    void say(std::string line, std::string_view data = {})
    {
        if (!options_.quiet)
            write(STD_OUTPUT_HANDLE, line + escaped(data));
    }

    Options options_;
    HANDLE port_ = CreateIoCompletionPort(INVALID_HANDLE_VALUE, nullptr, 0, 0);
    std::vector<std::unique_ptr<Listener>> listeners_;
    std::vector<std::thread> workers_;
    std::mutex registry_mutex_; // taken before a connection's
    std::unordered_set<Connection*> registry_;
    bool stopping_ = false;
    std::atomic<std::uint64_t> operations_ = 0; // in flight or being handled
    std::atomic<std::uint64_t> live_ = 0;
    std::atomic<std::uint64_t> clients_ = 0;
    std::atomic<std::uint64_t> messages_ = 0;
    std::atomic<std::uint64_t> bytes_ = 0;
};

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

// The console's thread may come at any moment, also while main is on its way out.
SRWLOCK console_lock = SRWLOCK_INIT;
HANDLE stop_requested = nullptr;

BOOL WINAPI on_console_event(DWORD event)
{
    if (event != CTRL_C_EVENT && event != CTRL_BREAK_EVENT)
        return FALSE;
    AcquireSRWLockShared(&console_lock);
    if (stop_requested != nullptr)
        SetEvent(stop_requested);
    ReleaseSRWLockShared(&console_lock);
    return TRUE;
}

bool serve(const Options& options)
{
    WSADATA data;
    const int error = WSAStartup(MAKEWORD(2, 2), &data);
    if (error != 0) {
        complain("WSAStartup", static_cast<DWORD>(error));
        return false;
    }
    bool served = false;
    try {
        Server server(options);
        server.open();
        server.run(stop_requested);
        served = true;
    } catch (const Failure& failure) {
        complain(failure.call, failure.code);
    }
    WSACleanup();
    return served;
}

} // namespace

int wmain(int argc, wchar_t** argv)
{
    Options options;
    if (!parse(argc, argv, options)) {
        write(STD_ERROR_HANDLE, "usage : iocp_network [--port N] [--address loopback] [--threads N] "
                                "[--max-connections N] [--idle-seconds S] [--quiet]");
        return 2;
    }
    SetConsoleOutputCP(CP_UTF8);
    stop_requested = CreateEventW(nullptr, TRUE, FALSE, nullptr);
    if (stop_requested == nullptr) {
        complain("CreateEvent", GetLastError());
        return 1;
    }
    SetConsoleCtrlHandler(on_console_event, TRUE); // and it stays: a second Ctrl-C is no reason to die
    const bool served = serve(options);
    AcquireSRWLockExclusive(&console_lock);
    CloseHandle(std::exchange(stop_requested, nullptr));
    ReleaseSRWLockExclusive(&console_lock);
    return served ? 0 : 1;
}
