// The whole server, in a thread of its own, with real clients on the loopback addresses.
#include "iocp_network.hpp"

#include "blocking_client.hpp"
#include "connected_pipe.hpp"

#include <gtest/gtest.h>

namespace {

using units::connect_to;
using units::finish_sending;
using units::Lines;
using units::loopback;
using units::receive_text;
using units::receive_to_the_end;
using units::send_text;

std::string echo(const Socket& client, std::string_view text)
{
    send_text(client, text);
    return receive_text(client, text.size());
}

std::string address_of(const Socket& client)
{
    Address address;
    getsockname(client.get(), address.get(), &address.length);
    return address.text();
}

// Bytes of every value, in an order that shows a missing or doubled part.
std::string pattern(std::size_t bytes)
{
    std::string text(bytes, '\0');
    for (std::size_t i = 0; i < bytes; ++i)
        text[i] = static_cast<char>(i * 31 + i / 256);
    return text;
}

// A server that runs in a thread of its own until stop() or the end of the test. What it prints can be waited for.
class RunningServer {
public:
    explicit RunningServer(const ServerOptions& options = {.threads = 2},
                           const std::vector<Address>& addresses = {loopback()})
    {
        std::vector<Listener> listeners = listen_on_all(addresses, 0);
        for (const Listener& listener : listeners)
            addresses_.push_back(listener.address);
        server_ = std::make_unique<Server>(std::move(listeners), options);
        thread_ = std::jthread([this] { server_->run(stop_requested_.get()); });
        for (Address& address : addresses_)
            EXPECT_EQ(output_.next_line(), "listening : " + address.text());
    }
    ~RunningServer() { SetEvent(stop_requested_.get()); }
    RunningServer(const RunningServer&) = delete;
    RunningServer& operator=(const RunningServer&) = delete;

    const std::vector<Address>& addresses() const { return addresses_; }
    Socket client() const { return connect_to(addresses_.front()); }
    std::string next_line() { return output_.next_line(); }

    // Returns when run has returned, with the lines that are left. Nothing a client did was worth an error.
    Lines stop()
    {
        SetEvent(stop_requested_.get());
        thread_.join();
        EXPECT_EQ(errors_.rest(), Lines{});
        return output_.rest();
    }

private:
    units::Captured output_{STD_OUTPUT_HANDLE};
    units::Captured errors_{STD_ERROR_HANDLE};
    lab::Event stop_requested_ = units::manual_reset_event();
    std::vector<Address> addresses_;
    std::unique_ptr<Server> server_;
    std::jthread thread_; // last: joined before anything above goes
};

constexpr ServerOptions quiet{.threads = 2, .quiet = true};

// What stop() prints, of a quiet server.
Lines stopped(int clients, int messages, int bytes)
{
    return {"stopped : " + std::to_string(clients) + " clients, " + std::to_string(messages) + " messages, " +
            std::to_string(bytes) + " bytes"};
}

class EchoServer : public testing::Test {
    Winsock winsock_;
};

TEST_F(EchoServer, EchoesOnBothLoopbackAddresses)
{
    RunningServer server(quiet, {loopback(), *parse_address(L"::1")});
    for (const Address& address : server.addresses())
        EXPECT_EQ(echo(connect_to(address), "hello"), "hello");
    if (server.addresses().size() == 1)
        GTEST_SKIP() << "this machine has no IPv6";
    EXPECT_EQ(server.stop(), stopped(2, 2, 10));
}

TEST_F(EchoServer, PrintsEachConnectionAndMessageOnALineOfItsOwn)
{
    RunningServer server;
    const Socket client = server.client();
    const std::string address = address_of(client);
    EXPECT_EQ(echo(client, "한글\n\x1B"), "한글\n\x1B");
    finish_sending(client);
    EXPECT_EQ(receive_to_the_end(client), "");
    EXPECT_EQ(server.next_line(), "클라이언트 접속 : " + address);
    EXPECT_EQ(server.next_line(), R"(수신된 data : 한글\n\x1b)");
    EXPECT_EQ(server.next_line(), "closed : " + address);
    EXPECT_EQ(server.stop(), stopped(1, 1, 8));
}

TEST_F(EchoServer, EchoesMoreThanOneBuffer)
{
    const RunningServer server(quiet);
    EXPECT_EQ(echo(server.client(), pattern(5000)), pattern(5000));
}

TEST_F(EchoServer, EchoesALongStreamWhileItIsStillBeingSent)
{
    const RunningServer server(quiet);
    const std::string text = pattern(256 * 1024);
    const Socket client = server.client();
    const std::jthread sender([&] { send_text(client, text), finish_sending(client); });
    EXPECT_TRUE(receive_to_the_end(client) == text) << "what came back is not what was sent";
}

TEST_F(EchoServer, SendsEverythingBackBeforeItEndsTheStream)
{
    RunningServer server(quiet);
    const Socket client = server.client();
    send_text(client, pattern(20'000));
    finish_sending(client);
    EXPECT_EQ(receive_to_the_end(client), pattern(20'000));
}

TEST_F(EchoServer, ServesManyClientsAtOnce)
{
    RunningServer server(quiet);
    std::vector<Socket> clients;
    for (int i = 0; i < 12; ++i)
        clients.push_back(server.client());
    for (std::size_t i = 0; i < clients.size(); ++i)
        send_text(clients[i], "client " + std::to_string(10 + i));
    for (std::size_t i = clients.size(); i-- > 0;)
        EXPECT_EQ(receive_text(clients[i], 9), "client " + std::to_string(10 + i));
    EXPECT_EQ(server.stop(), stopped(12, 12, 12 * 9));
}

TEST_F(EchoServer, ClosesWhoComesAboveTheCapAndCountsIt)
{
    RunningServer server({.threads = 2, .max_connections = 1, .quiet = true});
    const Socket first = server.client();
    EXPECT_EQ(echo(first, "hello"), "hello");
    const Socket second = server.client();
    EXPECT_EQ(receive_to_the_end(second), "");
    EXPECT_EQ(echo(first, "again"), "again") << "the first keeps its place";
    EXPECT_EQ(server.stop(), stopped(2, 2, 10));
}

TEST_F(EchoServer, HasRoomAgainWhenAClientHasLeft)
{
    RunningServer server({.threads = 1, .max_connections = 1});
    {
        const Socket first = server.client();
        EXPECT_EQ(echo(first, "hello"), "hello");
    }
    EXPECT_TRUE(server.next_line().starts_with("클라이언트 접속 : "));
    EXPECT_EQ(server.next_line(), "수신된 data : hello");
    EXPECT_TRUE(server.next_line().starts_with("closed : "));
    EXPECT_EQ(echo(server.client(), "next"), "next");
}

TEST_F(EchoServer, ServesOthersAfterAClientHasResetItsConnection)
{
    RunningServer server;
    const Socket other = server.client();
    {
        const Socket rude = server.client();
        EXPECT_EQ(echo(rude, "hello"), "hello");
        const linger at_once{1, 0};
        setsockopt(rude.get(), SOL_SOCKET, SO_LINGER, reinterpret_cast<const char*>(&at_once), sizeof at_once);
    }
    while (!server.next_line().starts_with("closed : ")) {
    }
    EXPECT_EQ(echo(other, "still here"), "still here");
    server.stop();
}

TEST_F(EchoServer, ClosesAClientThatIsIdleForTooLong)
{
    const RunningServer server({.threads = 2, .idle_seconds = 1, .quiet = true});
    const Socket client = server.client();
    EXPECT_EQ(echo(client, "hello"), "hello");
    EXPECT_EQ(receive_to_the_end(client), "") << "the limit takes a second or two; this waits as long as it must";
}

TEST_F(EchoServer, StopsBeforeAnyClientHasCome)
{
    RunningServer server(quiet);
    EXPECT_EQ(server.stop(), stopped(0, 0, 0));
}

TEST_F(EchoServer, StopsWhileAClientIsConnectedAndIdle)
{
    RunningServer server({.threads = 4, .quiet = true});
    const Socket client = server.client();
    EXPECT_EQ(echo(client, "hello"), "hello");
    EXPECT_EQ(server.stop(), stopped(1, 1, 5));
    EXPECT_EQ(receive_to_the_end(client), "");
}

TEST_F(EchoServer, StopsWhileAClientDoesNotReadWhatItIsSent)
{
    RunningServer server(quiet);
    const Socket client = server.client();
    EXPECT_EQ(echo(client, "hello"), "hello");
    u_long on = 1;
    ASSERT_EQ(ioctlsocket(client.get(), FIONBIO, &on), 0);
    const std::string text = pattern(4096);
    while (send(client.get(), text.data(), static_cast<int>(text.size()), 0) > 0) { // until nothing more fits
    }
    EXPECT_EQ(socket_error(), DWORD{WSAEWOULDBLOCK});
    EXPECT_EQ(server.stop().size(), 1U) << "it has said that it stopped";
}

TEST_F(EchoServer, RunsTwiceInOneProcess)
{
    for (int run = 0; run < 2; ++run) {
        RunningServer server(quiet);
        const Socket client = server.client();
        EXPECT_EQ(echo(client, "hello"), "hello");
        EXPECT_EQ(server.stop(), stopped(1, 1, 5));
    }
}

} // namespace
