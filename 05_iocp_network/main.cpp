// Stage 5: iocp_network [--port 4000] [--address loopback|any|ADDRESS] [--threads N] [--max-connections N]
//                       [--idle-seconds S] [--quiet]
// The completion port of stage 4 under a TCP server: connecting, receiving and sending all arrive as packets.
#include "iocp_network.hpp" // N1, N2, N3, N34: a complete program: nothing missing, nothing unused

#include <new>
#include <thread>

static HANDLE stop_requested; // the console's handler has no other way to know it

// Runs in a thread of the system's own, at any moment: it only says that it was called.
static BOOL WINAPI on_console_event(DWORD event)
{
    return (event == CTRL_C_EVENT || event == CTRL_BREAK_EVENT) && SetEvent(stop_requested);
}

struct Options {
    std::uint16_t port = 4000;
    std::vector<Address> addresses;
    ServerOptions server{.threads = std::max(1U, std::thread::hardware_concurrency())};
};

// N25: "loopback" unless told otherwise: an echo for everybody who can reach this machine must be asked for.
static std::vector<Address> parse_addresses(const std::wstring& text)
{
    if (text == L"loopback")
        return {*parse_address(L"127.0.0.1"), *parse_address(L"::1")};
    if (text == L"any")
        return {*parse_address(L"0.0.0.0"), *parse_address(L"::")};
    if (const auto address = parse_address(text))
        return {*address};
    return {};
}

// Needs Winsock. Nothing if the arguments are wrong.
static std::optional<Options> parse_options(int argc, const wchar_t* const* argv)
{
    Options options;
    std::wstring addresses = L"loopback";
    for (int i = 1; i < argc; ++i) {
        const std::wstring_view name = argv[i];
        if (name == L"--quiet") {
            options.server.quiet = true;
            continue;
        }
        const std::wstring_view value = ++i < argc ? argv[i] : L"";
        std::optional<std::uint64_t> number;
        if (name == L"--address")
            addresses = value;
        else if (name == L"--port" && (number = lab::parse_number(value, std::uint64_t{65535})))
            options.port = static_cast<std::uint16_t>(*number);
        else if (name == L"--threads" && (number = lab::parse_number(value, std::uint64_t{256})) && *number > 0)
            options.server.threads = static_cast<std::size_t>(*number);
        else if (name == L"--max-connections" && (number = lab::parse_number(value)))
            options.server.max_connections = static_cast<std::size_t>(*number);
        else if (name == L"--idle-seconds" && (number = lab::parse_number(value, std::uint64_t{1'000'000})))
            options.server.idle_seconds = static_cast<DWORD>(*number);
        else
            return std::nullopt;
    }
    options.addresses = parse_addresses(addresses);
    if (options.addresses.empty())
        return std::nullopt;
    return options;
}

// For as long as it lives, Ctrl-C is a request and not the end.
class StopRequest {
public:
    StopRequest()
    {
        if (!event_)
            throw lab::Win32Error{"CreateEvent", GetLastError()};
        stop_requested = event_.get();
        if (!SetConsoleCtrlHandler(on_console_event, TRUE))
            throw lab::Win32Error{"SetConsoleCtrlHandler", GetLastError()};
    }
    StopRequest(const StopRequest&) = delete;
    StopRequest& operator=(const StopRequest&) = delete;
    ~StopRequest() { SetConsoleCtrlHandler(on_console_event, FALSE); } // before the event it would set is closed

    HANDLE event() const noexcept { return event_.get(); }

private:
    lab::Event event_{CreateEventW(nullptr, TRUE, FALSE, nullptr)};
};

static int serve(const Options& options)
{
    const StopRequest stop;
    try {
        Server(listen_on_all(options.addresses, options.port), options.server).run(stop.event());
        return 0; // what the server met and survived was reported; the server itself ended well
    } catch (const lab::Win32Error& error) {
        lab::report(error); // here, where a Ctrl-C cannot yet cut the report off
    } catch (const std::bad_alloc&) {
        lab::report("operator new", ERROR_NOT_ENOUGH_MEMORY);
    }
    return lab::exit_code();
}

int wmain(int argc, wchar_t** argv)
{
    const lab::Utf8Console console;
    try {
        const Winsock winsock;
        if (const auto options = parse_options(argc, argv))
            return serve(*options);
        lab::write_line(STD_ERROR_HANDLE, "usage : iocp_network [--port 4000] [--address loopback|any|ADDRESS] "
                                          "[--threads N] [--max-connections N] [--idle-seconds S] [--quiet]");
        return lab::wrong_usage;
    } catch (const lab::Win32Error& error) {
        lab::report(error);
        return lab::exit_code();
    }
}
