// The peer that stage 5 is measured beside: an echo server on standalone Asio, written as its documentation writes one
// (asynchronous accept, read_some, write; a session kept alive by shared_ptr).
//
//     asio_echo PORT THREADS
//
// Prints "listening : 127.0.0.1:PORT" like stage 5; runs until it is ended.
#include <asio.hpp>

#include <array>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

using asio::ip::tcp;

namespace {

class Session : public std::enable_shared_from_this<Session> {
public:
    explicit Session(tcp::socket socket) : socket_(std::move(socket)) {}

    void read()
    {
        socket_.async_read_some(asio::buffer(buffer_),
                                [self = shared_from_this()](const asio::error_code& error, std::size_t bytes) {
                                    if (!error)
                                        self->write(bytes);
                                });
    }

private:
    void write(std::size_t bytes)
    {
        asio::async_write(socket_, asio::buffer(buffer_, bytes),
                          [self = shared_from_this()](const asio::error_code& error, std::size_t) {
                              if (!error)
                                  self->read();
                          });
    }

    tcp::socket socket_;
    std::array<char, 1024> buffer_; // as large as stage 5's
};

void accept(tcp::acceptor& acceptor)
{
    acceptor.async_accept([&acceptor](const asio::error_code& error, tcp::socket socket) {
        if (!error)
            std::make_shared<Session>(std::move(socket))->read();
        accept(acceptor);
    });
}

} // namespace

int main(int argc, char** argv)
{
    if (argc != 3) {
        std::cerr << "usage : asio_echo PORT THREADS" << std::endl;
        return 2;
    }
    try {
        const int threads = std::atoi(argv[2]);
        asio::io_context context(threads);
        const tcp::endpoint here(asio::ip::address_v4::loopback(), static_cast<unsigned short>(std::atoi(argv[1])));
        tcp::acceptor acceptor(context, here);
        accept(acceptor);
        std::cout << "listening : 127.0.0.1:" << acceptor.local_endpoint().port() << std::endl;
        std::vector<std::thread> others;
        for (int i = 1; i < threads; ++i)
            others.emplace_back([&context] { context.run(); });
        context.run();
        for (std::thread& other : others)
            other.join();
        return 0;
    } catch (const std::exception& error) {
        std::cerr << "error : " << error.what() << std::endl;
        return 1;
    }
}
