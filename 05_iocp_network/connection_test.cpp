// One connection's requests and their packets, on a real port with a real client.
#include "connection.hpp"
#include "workers.hpp"

#include "blocking_client.hpp"
#include "connected_pipe.hpp"

#include <gtest/gtest.h>

namespace {

using units::connect_to;
using units::finish_sending;
using units::loopback;
using units::receive_to_the_end;
using units::send_text;

void associate(HANDLE handle, const lab::Port& port)
{
    if (!CreateIoCompletionPort(handle, port.get(), 0, 0))
        units::give_up("CreateIoCompletionPort");
}

class ConnectionTest : public testing::Test {
protected:
    ConnectionTest() { associate(acceptor.listener.socket.handle(), port); }

    // Waits for one packet and says whose it is; null for a posted one.
    OVERLAPPED* next_packet() { return inbox.take(INFINITE).front().lpOverlapped; }

private:
    Winsock winsock_;

protected:
    lab::Port port = new_port();
    Inbox inbox{port.get()};
    Acceptor acceptor{listen_on(loopback())};
};

class Accepting : public ConnectionTest {
protected:
    ~Accepting() override
    {
        if (CancelIoEx(acceptor.listener.socket.handle(), &connection)) // a test that ended early
            next_packet();
    }

    Connection connection{acceptor, tcp_socket(AF_INET)};
};

// A connection whose client is there.
class Connected : public ConnectionTest {
protected:
    Connected()
    {
        associate(connection.socket.handle(), port);
        connection.active_since = 1;
    }
    ~Connected() override
    {
        if (CancelIoEx(connection.socket.handle(), &connection)) // a test that ended early
            next_packet();
    }

    int receive()
    {
        connection.doing = Connection::Doing::receiving;
        return submit(connection);
    }
    int send_from(DWORD sent, std::string_view text)
    {
        std::ranges::copy(text, connection.buffer.begin());
        connection.received = static_cast<DWORD>(text.size());
        connection.sent = sent;
        connection.doing = Connection::Doing::sending;
        return submit(connection);
    }

    Socket client = connect_to(acceptor.listener.address);
    Connection connection{acceptor, Socket{accept(acceptor.listener.socket.get(), nullptr, nullptr)}};
};

TEST_F(Accepting, EndsWithAPacketWhenASilentClientConnects)
{
    ASSERT_EQ(submit(connection), WSA_IO_PENDING);
    const Socket client = connect_to(acceptor.listener.address);
    ASSERT_EQ(next_packet(), &connection);
    EXPECT_EQ(outcome_of(connection).error, DWORD{ERROR_SUCCESS});
    EXPECT_EQ(outcome_of(connection).bytes, 0U);
}

TEST_F(Accepting, IsCancelledOnTheListener)
{
    ASSERT_EQ(submit(connection), WSA_IO_PENDING);
    cancel(connection);
    ASSERT_EQ(next_packet(), &connection) << "a cancelled request comes back too";
    EXPECT_EQ(outcome_of(connection).error, DWORD{ERROR_OPERATION_ABORTED});
}

// A worker that has the packet before AcceptEx returns, and goes on with the connection.
BOOL PASCAL accepts_at_once(SOCKET, SOCKET, void*, DWORD, DWORD, DWORD, DWORD*, OVERLAPPED* request)
{
    static_cast<Connection*>(request)->skips_packets = true;
    return TRUE;
}

TEST_F(Accepting, IsPendingEvenIfItIsDoneAtOnce)
{
    acceptor.accept_ex = accepts_at_once;
    EXPECT_EQ(submit(connection), WSA_IO_PENDING) << "the packet was queued, and the connection is somebody else's";
}

TEST_F(Accepting, NeedsASocket)
{
    try {
        Acceptor nobody{Listener{}};
        FAIL() << "nothing thrown";
    } catch (const lab::Win32Error& error) {
        EXPECT_STREQ(error.call, "WSAIoctl");
        EXPECT_EQ(error.code, DWORD{WSAENOTSOCK});
    }
}

TEST_F(Connected, ReceivesWhatTheClientSends)
{
    ASSERT_EQ(receive(), WSA_IO_PENDING);
    send_text(client, "hello");
    ASSERT_EQ(next_packet(), &connection);
    const Outcome outcome = outcome_of(connection);
    EXPECT_EQ(outcome.error, DWORD{ERROR_SUCCESS});
    EXPECT_EQ(std::string(connection.buffer.data(), outcome.bytes), "hello");
}

TEST_F(Connected, ReceivesNoBytesAtTheEndOfTheStream)
{
    ASSERT_EQ(receive(), WSA_IO_PENDING);
    finish_sending(client);
    ASSERT_EQ(next_packet(), &connection);
    EXPECT_EQ(outcome_of(connection).error, DWORD{ERROR_SUCCESS});
    EXPECT_EQ(outcome_of(connection).bytes, 0U);
}

TEST_F(Connected, SendsWhatWasReceived)
{
    ASSERT_EQ(send_from(0, "0123456789"), WSA_IO_PENDING) << "a packet comes, also if it is done at once";
    ASSERT_EQ(next_packet(), &connection);
    EXPECT_EQ(outcome_of(connection).bytes, 10U);
    finish_sending(connection.socket);
    EXPECT_EQ(receive_to_the_end(client), "0123456789");
}

TEST_F(Connected, SendsOnlyTheRestAfterAPartialSend)
{
    ASSERT_EQ(send_from(4, "0123456789"), WSA_IO_PENDING);
    ASSERT_EQ(next_packet(), &connection);
    EXPECT_EQ(outcome_of(connection).bytes, 6U);
    finish_sending(connection.socket);
    EXPECT_EQ(receive_to_the_end(client), "456789");
}

TEST_F(Connected, LeavesNoPacketForWhatIsDoneAtOnceWhenPacketsAreSkipped)
{
    ASSERT_EQ(skip_packets(connection), DWORD{ERROR_SUCCESS});
    ASSERT_EQ(send_from(0, "0123456789"), 0);
    EXPECT_EQ(outcome_of(connection).error, DWORD{ERROR_SUCCESS});
    EXPECT_EQ(outcome_of(connection).bytes, 10U) << "the count is known without a packet";
    EXPECT_TRUE(inbox.take(0).empty());
}

TEST_F(Connected, HasAPacketForWhatPendsAlsoWhenPacketsAreSkipped)
{
    ASSERT_EQ(skip_packets(connection), DWORD{ERROR_SUCCESS});
    ASSERT_EQ(receive(), WSA_IO_PENDING);
    send_text(client, "hello");
    ASSERT_EQ(next_packet(), &connection);
    EXPECT_EQ(outcome_of(connection).bytes, 5U);
}

TEST_F(Connected, KeepsItsPacketsWhereTheProviderCannotBeTrustedToSkipThem)
{
    EXPECT_TRUE(acceptor.may_skip_packets) << "a plain TCP socket";
    acceptor.may_skip_packets = false;
    ASSERT_EQ(skip_packets(connection), DWORD{ERROR_SUCCESS});
    ASSERT_EQ(send_from(0, "hello"), WSA_IO_PENDING);
    EXPECT_EQ(next_packet(), &connection);
}

TEST_F(Connected, CannotSkipPacketsOnASocketThatIsGone)
{
    connection.socket = Socket{};
    EXPECT_EQ(skip_packets(connection), DWORD{ERROR_INVALID_HANDLE});
    EXPECT_FALSE(connection.skips_packets);
}

TEST_F(Connected, ClearsWhatAnEarlierRequestHasLeftBehind)
{
    const lab::Event stale = units::manual_reset_event();
    connection.hEvent = stale.get();
    connection.Internal = 1;
    connection.Offset = 1;
    ASSERT_EQ(receive(), WSA_IO_PENDING);
    send_text(client, "hello");
    ASSERT_EQ(next_packet(), &connection);
    EXPECT_EQ(outcome_of(connection).bytes, 5U);
    EXPECT_EQ(connection.Offset, 0U);
    EXPECT_FALSE(units::is_set(stale.get()));
}

TEST_F(Connected, CancelsAPendingReceive)
{
    ASSERT_EQ(receive(), WSA_IO_PENDING);
    cancel(connection);
    ASSERT_EQ(next_packet(), &connection);
    EXPECT_EQ(outcome_of(connection).error, DWORD{ERROR_OPERATION_ABORTED});
}

TEST_F(Connected, MayBeCancelledWithNothingInFlight)
{
    units::Captured errors(STD_ERROR_HANDLE);
    cancel(connection);
    EXPECT_EQ(errors.rest(), units::Lines{});
}

TEST_F(Connected, IsRefusedOnASocketThatIsGone)
{
    connection.socket = Socket{};
    EXPECT_EQ(receive(), WSAENOTSOCK);
    EXPECT_EQ(send_from(0, "hello"), WSAENOTSOCK);
}

TEST(ReadyList, GivesConnectionsBackInTheOrderTheyCame)
{
    const Winsock winsock;
    Acceptor acceptor{listen_on(loopback())};
    Connection first{acceptor, Socket{}};
    Connection second{acceptor, Socket{}};
    ReadyList ready;
    EXPECT_TRUE(ready.empty());
    ready.push(first);
    ready.push(second);
    EXPECT_FALSE(ready.empty());
    EXPECT_EQ(ready.pop(), &first);
    ready.push(first);
    EXPECT_EQ(ready.pop(), &second);
    EXPECT_EQ(ready.pop(), &first);
    EXPECT_EQ(ready.pop(), nullptr);
    EXPECT_TRUE(ready.empty());
}

} // namespace
