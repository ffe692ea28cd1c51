// Drives an echo server: CONNECTIONS clients, each sending a message, waiting for all of it to come back, and sending the
// next. One thread on standalone Asio, so that the same source loads a server on Linux and on Windows.
//
//     echo_load PORT CONNECTIONS BYTES WARMUP_MS MEASURE_MS [HOLD]
//
// All connections are open before the first message is sent. On stdout, one line of JSON: messages (that came back during
// the measurement), seconds (of the measurement), p50_us, p99_us, max_us: microseconds from sending a message to having
// its last byte back, for all that came back after the warm-up, also those that did so only after the end. With HOLD (the word "hold") it says "holding" on stdout, after every
// connection has echoed one message, and keeps all of them open until its stdin ends.
// Exit codes: 0 measured; 1 the server refused, dropped or changed something (which, on stderr); 2 wrong usage.
#include <asio.hpp>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
using asio::ip::tcp;

// What is measured, by whom it may be: every client adds its own round trips.
struct Measurement {
    Clock::time_point begin;
    Clock::time_point end;
    std::uint64_t messages = 0;              // that came back between begin and end
    std::vector<std::uint32_t> microseconds; // of each message that came back after begin

    void add(Clock::time_point sent, Clock::time_point back)
    {
        if (back < begin)
            return;
        messages += back < end ? 1 : 0;
        const auto passed = std::chrono::duration_cast<std::chrono::microseconds>(back - sent).count();
        microseconds.push_back(static_cast<std::uint32_t>(passed));
    }
};

class Client {
public:
    Client(asio::io_context& context, std::size_t number, std::size_t bytes)
        : socket_(context), message_(bytes, '\0'), echo_(bytes, '\0')
    {
        // A message of its own, so that an echo meant for another client is noticed.
        for (std::size_t i = 0; i < bytes; ++i)
            message_[i] = static_cast<char>('!' + (number * 31 + i * 7) % 90);
    }

    // Blocks: one client after the other.
    void connect(tcp::endpoint server)
    {
        socket_.connect(server);
        socket_.set_option(tcp::no_delay(true));
    }

    // One message there and back, blocking.
    void echo_once()
    {
        asio::write(socket_, asio::buffer(message_));
        asio::read(socket_, asio::buffer(echo_));
        compare();
    }

    // One message after the other, until the measurement is over.
    void run(Measurement& measurement)
    {
        measurement_ = &measurement;
        send();
    }

private:
    void send()
    {
        sent_ = Clock::now();
        asio::async_write(socket_, asio::buffer(message_), [this](const asio::error_code& error, std::size_t) {
            check(error);
            receive();
        });
    }

    void receive()
    {
        asio::async_read(socket_, asio::buffer(echo_), [this](const asio::error_code& error, std::size_t) {
            check(error);
            compare();
            const auto now = Clock::now();
            measurement_->add(sent_, now);
            if (now < measurement_->end)
                send();
        });
    }

    void compare() const
    {
        if (echo_ != message_)
            throw std::runtime_error("an echo is not what was sent");
    }

    static void check(const asio::error_code& error)
    {
        if (error)
            throw asio::system_error(error);
    }

    tcp::socket socket_;
    std::string message_;
    std::string echo_;
    Clock::time_point sent_;
    Measurement* measurement_ = nullptr;
};

using Clients = std::vector<std::unique_ptr<Client>>;

void measure(asio::io_context& context, Clients& clients, std::chrono::milliseconds warmup,
             std::chrono::milliseconds measured)
{
    Measurement measurement;
    measurement.begin = Clock::now() + warmup;
    measurement.end = measurement.begin + measured;
    measurement.microseconds.reserve(1 << 20);
    for (const auto& client : clients)
        client->run(measurement);
    context.run(); // until every client has its last echo

    auto& times = measurement.microseconds;
    std::sort(times.begin(), times.end());
    const auto at = [&](double share) {
        return times.empty() ? 0 : times[static_cast<std::size_t>(share * static_cast<double>(times.size() - 1))];
    };
    std::cout << "{\"messages\": " << measurement.messages
              << ", \"seconds\": " << static_cast<double>(measured.count()) / 1000 << ", \"p50_us\": " << at(0.5)
              << ", \"p99_us\": " << at(0.99) << ", \"max_us\": " << at(1) << "}" << std::endl;
}

void hold(Clients& clients)
{
    for (const auto& client : clients)
        client->echo_once();
    std::cout << "holding" << std::endl;
    while (std::cin.get() != std::char_traits<char>::eof())
        continue;
}

std::optional<unsigned> number(std::string_view text)
{
    unsigned value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size())
        return std::nullopt;
    return value;
}

} // namespace

int main(int argc, char** argv)
{
    std::vector<unsigned> numbers;
    for (int i = 1; i < argc && i <= 5; ++i)
        if (const auto value = number(argv[i]))
            numbers.push_back(*value);
    const bool holds = argc == 7 && std::string_view(argv[6]) == "hold";
    if (numbers.size() != 5 || numbers[0] > 65535 || numbers[2] == 0 || (argc != 6 && !holds)) {
        std::cerr << "usage : echo_load PORT CONNECTIONS BYTES WARMUP_MS MEASURE_MS [hold]" << std::endl;
        return 2;
    }
    try {
        asio::io_context context(1);
        const tcp::endpoint server(asio::ip::address_v4::loopback(), static_cast<unsigned short>(numbers[0]));
        Clients clients;
        for (unsigned i = 0; i < numbers[1]; ++i) {
            clients.push_back(std::make_unique<Client>(context, i, numbers[2]));
            clients.back()->connect(server);
        }
        if (holds)
            hold(clients);
        else
            measure(context, clients, std::chrono::milliseconds(numbers[3]), std::chrono::milliseconds(numbers[4]));
        return 0;
    } catch (const std::exception& error) {
        std::cerr << "error : " << error.what() << std::endl;
        return 1;
    }
}
