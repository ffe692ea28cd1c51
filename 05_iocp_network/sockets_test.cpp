// Sockets before the port comes in: the owner, addresses in text and numbers, listening on one port in both families.
#include "sockets.hpp"

#include "connected_pipe.hpp"

#include <gtest/gtest.h>

namespace {

Address loopback(std::uint16_t port = 0)
{
    Address address = *parse_address(L"127.0.0.1");
    address.set_port(port);
    return address;
}

// The call and the code of the Win32Error this throws; "nothing" if it throws none.
template <typename Action>
std::string thrown_by(Action&& action)
{
    try {
        action();
    } catch (const lab::Win32Error& error) {
        return std::string(error.call) + " : " + std::to_string(error.code);
    }
    return "nothing";
}

DWORD option(const Socket& socket, int level, int name)
{
    DWORD value = 0;
    int size = sizeof value;
    EXPECT_EQ(getsockopt(socket.get(), level, name, reinterpret_cast<char*>(&value), &size), 0) << socket_error();
    return value;
}

bool is_open(SOCKET socket)
{
    int type = 0;
    int size = sizeof type;
    return getsockopt(socket, SOL_SOCKET, SO_TYPE, reinterpret_cast<char*>(&type), &size) == 0;
}

class Sockets : public testing::Test {
    Winsock winsock_;
};
class SocketOwner : public Sockets {};
class AddressText : public Sockets {};
class ParseAddress : public Sockets {};
class ListenOn : public Sockets {};
class ListenOnAll : public Sockets {};

// ---------------------------------------------------------------- the owner

TEST_F(SocketOwner, ClosesItsSocketWhenItGoes)
{
    SOCKET inside = INVALID_SOCKET;
    {
        const Socket socket = tcp_socket(AF_INET);
        inside = socket.get();
        ASSERT_TRUE(is_open(inside));
    }
    EXPECT_FALSE(is_open(inside));
    EXPECT_EQ(socket_error(), DWORD{WSAENOTSOCK});
}

TEST_F(SocketOwner, MovesItsSocketAndNoLongerClosesIt)
{
    Socket target;
    SOCKET inside = INVALID_SOCKET;
    {
        Socket source = tcp_socket(AF_INET);
        inside = source.get();
        Socket moved{std::move(source)};
        EXPECT_FALSE(source); // NOLINT: what is left of it is the point
        target = std::move(moved);
    }
    EXPECT_EQ(target.get(), inside);
    EXPECT_TRUE(is_open(inside)) << "closed by an owner that had given it away";
}

TEST_F(SocketOwner, ClosesWhatItHeldBeforeAnAssignment)
{
    Socket socket = tcp_socket(AF_INET);
    const SOCKET before = socket.get();
    socket = tcp_socket(AF_INET);
    EXPECT_TRUE(is_open(socket.get()));
    EXPECT_FALSE(is_open(before));
}

TEST_F(SocketOwner, OfNothingIsFalse)
{
    EXPECT_FALSE(Socket{});
    EXPECT_FALSE(Socket{INVALID_SOCKET});
    EXPECT_FALSE(tcp_socket(1000)) << "there is no such family";
}

TEST_F(SocketOwner, IsNotInheritedByAChildProcess)
{
    const Socket socket = tcp_socket(AF_INET);
    DWORD flags = HANDLE_FLAG_INHERIT;
    ASSERT_TRUE(GetHandleInformation(socket.handle(), &flags));
    EXPECT_EQ(flags & HANDLE_FLAG_INHERIT, 0U);
}

// ---------------------------------------------------------------- addresses

TEST_F(AddressText, ShowsAddressAndPortOfBothFamilies)
{
    Address v4 = *parse_address(L"127.0.0.1");
    v4.set_port(4000);
    EXPECT_EQ(v4.text(), "127.0.0.1:4000");
    Address v6 = *parse_address(L"::1");
    v6.set_port(65535);
    EXPECT_EQ(v6.text(), "[::1]:65535");
}

TEST_F(AddressText, KeepsThePortItWasGiven)
{
    for (const wchar_t* const text : {L"127.0.0.1", L"::1"}) {
        Address address = *parse_address(text);
        EXPECT_EQ(address.port(), 0U);
        address.set_port(0x1234);
        EXPECT_EQ(address.port(), 0x1234U);
    }
}

TEST_F(AddressText, SaysSoWhenThereIsNone)
{
    EXPECT_EQ(Address{}.text(), "address without text");
}

TEST_F(ParseAddress, TakesNumbersOfBothFamilies)
{
    const auto v4 = parse_address(L"192.0.2.1");
    ASSERT_TRUE(v4);
    EXPECT_EQ(v4->family(), AF_INET);
    EXPECT_EQ(v4->length, int{sizeof(SOCKADDR_IN)});
    const auto v6 = parse_address(L"2001:db8::1");
    ASSERT_TRUE(v6);
    EXPECT_EQ(v6->family(), AF_INET6);
    EXPECT_EQ(v6->length, int{sizeof(SOCKADDR_IN6)});
}

TEST_F(ParseAddress, LeavesNothingBesideTheAddressBehind)
{
    for (const wchar_t* const text : {L"::1", L"1::2", L"1:2:3:4:5:6:7:8", L"::ffff:1.2.3.4"}) {
        const auto address = parse_address(text);
        ASSERT_TRUE(address) << lab::to_utf8(text);
        const auto& v6 = reinterpret_cast<const SOCKADDR_IN6&>(address->storage);
        EXPECT_EQ(v6.sin6_flowinfo, 0U) << lab::to_utf8(text);
        EXPECT_EQ(v6.sin6_scope_id, 0U) << lab::to_utf8(text);
        EXPECT_EQ(v6.sin6_port, 0U) << lab::to_utf8(text);
    }
}

TEST_F(ParseAddress, RefusesEverythingElse)
{
    for (const wchar_t* const text : {L"", L"localhost", L"1.2.3", L"1.2.3.4.5", L"1.2.3.256", L"127.0.0.1:80", L"::g",
                                      L"1:2:3", L"[::1]", L" 127.0.0.1", L"127.0.0.1 "})
        EXPECT_FALSE(parse_address(text)) << '"' << lab::to_utf8(text) << '"';
}

// ---------------------------------------------------------------- listening

TEST_F(ListenOn, TakesAFreePortAndKnowsIt)
{
    Listener listener = listen_on(loopback());
    EXPECT_NE(listener.address.port(), 0U);
    EXPECT_EQ(listener.address.text(), "127.0.0.1:" + std::to_string(listener.address.port()));
    EXPECT_EQ(option(listener.socket, SOL_SOCKET, SO_ACCEPTCONN), 1U) << "it listens";
}

TEST_F(ListenOn, HasItsAddressForItselfAlone)
{
    const Listener listener = listen_on(loopback());
    EXPECT_NE(option(listener.socket, SOL_SOCKET, SO_EXCLUSIVEADDRUSE), 0U);
}

TEST_F(ListenOn, NamesBindWhenThePortIsTaken)
{
    const Listener first = listen_on(loopback());
    const std::string thrown = thrown_by([&] { listen_on(loopback(first.address.port())); });
    EXPECT_TRUE(thrown == "bind : 10048" || thrown == "bind : 10013") << thrown; // WSAEADDRINUSE, WSAEACCES
}

TEST_F(ListenOn, NamesTheCallForAFamilyThatDoesNotExist)
{
    Address address = loopback();
    address.storage.ss_family = 1000;
    EXPECT_EQ(thrown_by([&] { listen_on(address); }), "WSASocket : 10047"); // WSAEAFNOSUPPORT
}

TEST_F(ListenOn, NamesAnOptionThatCannotBeSet)
{
    EXPECT_EQ(thrown_by([] { set_option(Socket{}, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, 1); }), "setsockopt : 10038");
}

TEST_F(ListenOnAll, TakesOnePortForBothFamilies)
{
    std::vector<Listener> listeners = listen_on_all({loopback(), *parse_address(L"::1")}, 0);
    if (listeners.size() == 1)
        GTEST_SKIP() << "this machine has no IPv6";
    ASSERT_EQ(listeners.size(), 2U);
    const std::uint16_t port = listeners[0].address.port();
    EXPECT_NE(port, 0U);
    EXPECT_EQ(listeners[0].address.text(), "127.0.0.1:" + std::to_string(port));
    EXPECT_EQ(listeners[1].address.text(), "[::1]:" + std::to_string(port));
    EXPECT_EQ(option(listeners[1].socket, IPPROTO_IPV6, IPV6_V6ONLY), 1U) << "IPv4 has its own listener";
}

TEST_F(ListenOnAll, DoesNotLookForAnotherPortThanItWasToldTo)
{
    const Listener first = listen_on(loopback());
    const std::string thrown = thrown_by([&] { listen_on_all({loopback()}, first.address.port()); });
    EXPECT_TRUE(thrown == "bind : 10048" || thrown == "bind : 10013") << thrown;
}

TEST_F(ListenOnAll, GivesUpWhenNoPortIsFreeForAllOfThem)
{
    const std::string thrown = thrown_by([] { listen_on_all({loopback(), loopback()}, 0); });
    EXPECT_TRUE(thrown == "bind : 10048" || thrown == "bind : 10013") << thrown;
}

// 192.0.2.1 is set aside for documentation: no machine has it, as a machine without IPv6 has no ::1.
TEST_F(ListenOnAll, DoesWithoutAnAddressThatTheMachineLacks)
{
    for (const auto& addresses : {std::vector{loopback(), *parse_address(L"192.0.2.1")},
                                  std::vector{*parse_address(L"192.0.2.1"), loopback()}}) {
        std::vector<Listener> listeners = listen_on_all(addresses, 0);
        ASSERT_EQ(listeners.size(), 1U);
        EXPECT_EQ(listeners[0].address.text(), "127.0.0.1:" + std::to_string(listeners[0].address.port()));
    }
}

TEST_F(ListenOnAll, NamesBindWhenNoAddressIsLeft)
{
    const Address missing = *parse_address(L"192.0.2.1");
    EXPECT_EQ(thrown_by([&] { listen_on_all({missing}, 0); }), "bind : 10049"); // WSAEADDRNOTAVAIL
    EXPECT_EQ(thrown_by([&] { listen_on_all({missing, missing}, 0); }), "bind : 10049");
}

} // namespace
