// Stage 4, the answer: packets from a real port, and a Reader over real files and pipes.
#include "iocp_files.hpp"

#include "connected_pipe.hpp"

#include <gtest/gtest.h>

namespace {

using units::Captured;
using units::ConnectedPipe;
using units::Lines;
using units::TemporaryFile;

lab::Port new_port()
{
    lab::Port port{CreateIoCompletionPort(INVALID_HANDLE_VALUE, nullptr, 0, 0)};
    if (!port)
        units::give_up("CreateIoCompletionPort");
    return port;
}

void associate(HANDLE file, const lab::Port& port, ULONG_PTR key)
{
    if (!CreateIoCompletionPort(file, port.get(), key, 0))
        units::give_up("CreateIoCompletionPort");
}

// ---------------------------------------------------------------- packets

// One request on a pipe whose packets come to a port. Its key needs more than 32 bits.
class PacketTest : public testing::Test {
protected:
    static constexpr ULONG_PTR key = 0x1'0000'0064;
    static constexpr DWORD block_bytes = 64;

    PacketTest()
    {
        associate(pipe.reader(), port, key);
        request.run = {&source, 0, 1, 1};
    }
    ~PacketTest() override
    {
        if (CancelIoEx(pipe.reader(), &request)) // a test that ended early
            dequeue(port.get(), INFINITE);
    }

    std::string text(DWORD bytes) const { return {reinterpret_cast<const char*>(request.buffer.get()), bytes}; }

    lab::Port port = new_port();
    ConnectedPipe pipe;
    Source source{pipe.reader(), key, 1};
    Request request{block_bytes};
};

class Dequeue : public PacketTest {};
class Submit : public PacketTest {};

TEST_F(Dequeue, BringsACompletedRequestWithItsKeyAndBytes)
{
    ASSERT_EQ(submit(request, 0, block_bytes), DWORD{ERROR_SUCCESS});
    pipe.write("hello");
    const Packet packet = dequeue(port.get(), INFINITE);
    EXPECT_EQ(packet.kind, Packet::completed);
    EXPECT_EQ(packet.key, key);
    EXPECT_EQ(packet.request, &request);
    EXPECT_EQ(packet.error, DWORD{ERROR_SUCCESS});
    EXPECT_EQ(text(packet.bytes), "hello");
}

TEST_F(Dequeue, BringsTheRequestWhosePipeBroke)
{
    ASSERT_EQ(submit(request, 0, block_bytes), DWORD{ERROR_SUCCESS});
    pipe.close_server();
    const Packet packet = dequeue(port.get(), INFINITE);
    EXPECT_EQ(packet.kind, Packet::failed);
    EXPECT_EQ(packet.key, key);
    EXPECT_EQ(packet.request, &request) << "a failed request comes back too";
    EXPECT_EQ(packet.error, DWORD{ERROR_BROKEN_PIPE});
    EXPECT_EQ(packet.bytes, 0U);
}

TEST_F(Dequeue, BringsTheRequestThatWasCancelled)
{
    ASSERT_EQ(submit(request, 0, block_bytes), DWORD{ERROR_SUCCESS});
    ASSERT_TRUE(CancelIoEx(pipe.reader(), &request));
    const Packet packet = dequeue(port.get(), INFINITE);
    EXPECT_EQ(packet.kind, Packet::failed);
    EXPECT_EQ(packet.request, &request);
    EXPECT_EQ(packet.error, DWORD{ERROR_OPERATION_ABORTED});
}

TEST_F(Dequeue, TakesAPostedPacketForAStop)
{
    ASSERT_TRUE(PostQueuedCompletionStatus(port.get(), 0, 0, nullptr));
    const Packet packet = dequeue(port.get(), INFINITE);
    EXPECT_EQ(packet.kind, Packet::stop);
    EXPECT_EQ(packet.request, nullptr);
}

TEST_F(Dequeue, BringsNothingAfterTheTimeout)
{
    const Packet packet = dequeue(port.get(), 0);
    EXPECT_EQ(packet.kind, Packet::nothing);
    EXPECT_EQ(packet.request, nullptr);
    EXPECT_EQ(packet.error, DWORD{WAIT_TIMEOUT});
}

TEST_F(Dequeue, BringsNothingFromWhatIsNoPort)
{
    const Packet packet = dequeue(nullptr, 0);
    EXPECT_EQ(packet.kind, Packet::nothing);
    EXPECT_EQ(packet.request, nullptr);
    EXPECT_EQ(packet.error, DWORD{ERROR_INVALID_HANDLE});
}

TEST_F(Dequeue, DoesNotShowTheOldRequestWhenNothingCameAfterIt)
{
    pipe.write("hello");
    ASSERT_EQ(submit(request, 0, block_bytes), DWORD{ERROR_SUCCESS});
    ASSERT_EQ(dequeue(port.get(), INFINITE).request, &request);
    const Packet second = dequeue(port.get(), 0);
    EXPECT_EQ(second.kind, Packet::nothing);
    EXPECT_EQ(second.request, nullptr);
    EXPECT_EQ(second.bytes, 0U);
}

// ---------------------------------------------------------------- submitting

TEST_F(Submit, IsAcceptedOnAnEmptyPipeWithoutAPacketYet)
{
    EXPECT_EQ(submit(request, 0, block_bytes), DWORD{ERROR_SUCCESS}) << "pending is accepted";
    EXPECT_EQ(dequeue(port.get(), 0).kind, Packet::nothing);
}

TEST_F(Submit, QueuesAPacketEvenIfItCompletesAtOnce)
{
    pipe.write("hello");
    EXPECT_EQ(submit(request, 0, block_bytes), DWORD{ERROR_SUCCESS});
    EXPECT_EQ(dequeue(port.get(), 0).request, &request);
    EXPECT_EQ(dequeue(port.get(), 0).kind, Packet::nothing) << "one request, one packet";
}

TEST_F(Submit, IsRefusedOnABrokenPipeAndQueuesNoPacket)
{
    pipe.close_server();
    EXPECT_EQ(submit(request, 0, block_bytes), DWORD{ERROR_BROKEN_PIPE});
    EXPECT_EQ(dequeue(port.get(), 0).kind, Packet::nothing);
}

TEST_F(Submit, ReadsNoMoreThanItWasAskedFor)
{
    pipe.write("hello");
    ASSERT_EQ(submit(request, 0, 2), DWORD{ERROR_SUCCESS});
    EXPECT_EQ(text(dequeue(port.get(), INFINITE).bytes), "he");
}

TEST_F(Submit, ClearsWhatAnEarlierUseHasLeftBehind)
{
    const lab::Event stale = units::manual_reset_event();
    request.hEvent = stale.get();
    request.Internal = 1;
    request.OffsetHigh = 1;
    pipe.write("hello");
    ASSERT_EQ(submit(request, 0, block_bytes), DWORD{ERROR_SUCCESS});
    EXPECT_EQ(text(dequeue(port.get(), INFINITE).bytes), "hello");
    EXPECT_EQ(request.hEvent, nullptr);
    EXPECT_EQ(request.OffsetHigh, 0U);
    EXPECT_FALSE(units::is_set(stale.get()));
}

// What a request reads at this offset of the file; "error 87" if it is refused.
std::string read_at(const TemporaryFile& content, std::uint64_t offset)
{
    const lab::Port port = new_port();
    Request request{8};
    const lab::File file = content.open();
    associate(file.get(), port, 100);
    const Source source{file.get(), 100, 1};
    request.run = {&source, 0, 1, 1};
    if (const DWORD error = submit(request, offset, 8); error != ERROR_SUCCESS)
        return "error " + std::to_string(error);
    const Packet packet = dequeue(port.get(), INFINITE);
    return {reinterpret_cast<const char*>(request.buffer.get()), packet.bytes};
}

TEST(SubmitOnAFile, ReadsAtTheOffset)
{
    TemporaryFile content("0123456789");
    content.write_at((std::uint64_t{1} << 32) + 5, "far");
    EXPECT_EQ(read_at(content, 0), "01234567");
    EXPECT_EQ(read_at(content, 2), "23456789");
    EXPECT_EQ(read_at(content, (std::uint64_t{1} << 32) + 5), "far");
}

TEST(SubmitOnAFile, IsRefusedAtANegativeOffset)
{
    EXPECT_EQ(read_at(TemporaryFile("0123456789"), std::uint64_t{1} << 63), "error 87");
}

// ---------------------------------------------------------------- the reader

constexpr DWORD block_bytes = 512;

// Two blocks and a half, each filled with a byte of its own.
std::string two_blocks_and_a_half(char first)
{
    std::string content(block_bytes * 5 / 2, first);
    std::fill(content.begin() + block_bytes, content.end(), static_cast<char>(first + 1));
    std::fill(content.begin() + 2 * block_bytes, content.end(), static_cast<char>(first + 2));
    return content;
}

std::string complete(ULONG_PTR key, int id, DWORD bytes, const char* data)
{
    return "COMPLETE : " + std::to_string(key) + ", " + std::to_string(id) + ", " + std::to_string(bytes) + " : " +
           data;
}

std::string failure(ULONG_PTR key, int id, DWORD error)
{
    return "FAILED : " + std::to_string(key) + ", " + std::to_string(id) + ", " + std::to_string(error) + " : " +
           lab::system_text(error);
}

// What a Reader prints, sorted: its COMPLETE and FAILED lines may come in any order.
Lines sorted(Lines lines)
{
    std::ranges::sort(lines);
    return lines;
}

// Files and pipes on one port, and what a Reader prints about them.
class ReaderTest : public testing::Test {
protected:
    void add(HANDLE file, ULONG_PTR key, std::uint64_t blocks)
    {
        associate(file, port_, key);
        sources_.push_back({file, key, blocks});
    }
    void add(const TemporaryFile& content, ULONG_PTR key, std::uint64_t blocks)
    {
        files_.push_back(content.open());
        add(files_.back().get(), key, blocks);
    }

    void run(std::size_t depth, std::size_t threads, bool in_runs = false)
    {
        Reader(port_.get(), sources_, block_bytes, in_runs).run(depth, threads);
    }

    Lines lines_of_run(std::size_t depth, std::size_t threads, bool in_runs = false)
    {
        Captured output(STD_OUTPUT_HANDLE);
        Captured errors(STD_ERROR_HANDLE); // a read that is refused at once is named there as well
        run(depth, threads, in_runs);
        return output.rest();
    }

private:
    lab::Port port_ = new_port();
    std::vector<lab::File> files_;
    std::vector<Source> sources_;
};

struct Load {
    std::size_t depth;
    std::size_t threads;
    bool in_runs = false;
};

class ReaderUnderLoad : public ReaderTest, public testing::WithParamInterface<Load> {};

TEST_P(ReaderUnderLoad, ReadsEveryBlockOfEveryFileExactlyOnce)
{
    const TemporaryFile one(two_blocks_and_a_half('A'));
    const TemporaryFile other(two_blocks_and_a_half('a'));
    add(one, 100, 4);
    add(other, 200, 3);
    const Lines lines = lines_of_run(GetParam().depth, GetParam().threads, GetParam().in_runs);
    ASSERT_FALSE(lines.empty());
    EXPECT_EQ(lines.back(), "done : 7 reads, 2560 bytes, 1 failed");
    EXPECT_EQ(sorted(lines), sorted({
                                 "Main Continue ..",
                                 complete(100, 1, 512, "41 41 41 41 41 41 41 41"),
                                 complete(100, 2, 512, "42 42 42 42 42 42 42 42"),
                                 complete(100, 3, 256, "43 43 43 43 43 43 43 43"),
                                 failure(100, 4, ERROR_HANDLE_EOF),
                                 complete(200, 5, 512, "61 61 61 61 61 61 61 61"),
                                 complete(200, 6, 512, "62 62 62 62 62 62 62 62"),
                                 complete(200, 7, 256, "63 63 63 63 63 63 63 63"),
                                 "done : 7 reads, 2560 bytes, 1 failed",
                             }));
}

INSTANTIATE_TEST_SUITE_P(DepthAndThreads, ReaderUnderLoad,
                         testing::Values(Load{1, 1}, Load{1, 4}, Load{2, 4}, Load{7, 1}, Load{100, 1}, Load{100, 4},
                                         Load{1, 1, true}, Load{7, 1, true}, Load{100, 4, true}),
                         [](const testing::TestParamInfo<Load>& load) {
                             return "Depth" + std::to_string(load.param.depth) + "Threads" +
                                    std::to_string(load.param.threads) + (load.param.in_runs ? "InRuns" : "");
                         });

// A file whose size is told as larger than it is: the runs at its end are cut short, or bring nothing at all.
TEST_F(ReaderTest, TellsOfEachBlockAlsoWhereARunFails)
{
    std::string content;
    for (char letter = 'a'; letter < 'a' + 20; ++letter)
        content += std::string(block_bytes, letter);
    const TemporaryFile file(content + "end");
    add(file, 100, 40);
    const Lines lines = lines_of_run(2, 1, true); // runs of ten blocks
    Lines wanted{"Main Continue ..", complete(100, 21, 3, "65 6e 64"), "done : 40 reads, 10243 bytes, 19 failed"};
    for (int id = 1; id <= 20; ++id) {
        const std::string letter = lab::hex(std::as_bytes(std::span(content).subspan((id - 1) * block_bytes, 8)));
        wanted.push_back(complete(100, id, block_bytes, letter.c_str()));
    }
    for (int id = 22; id <= 40; ++id)
        wanted.push_back(failure(100, id, ERROR_HANDLE_EOF));
    EXPECT_EQ(sorted(lines), sorted(wanted));
}

TEST_F(ReaderTest, AsksForTheNextBlockOnlyWhenThePreviousIsDoneAtDepthOne)
{
    const TemporaryFile content(two_blocks_and_a_half('A'));
    add(content, 100, 3);
    Lines lines = lines_of_run(1, 4);
    std::erase(lines, "Main Continue .."); // main's own line stands anywhere between
    EXPECT_EQ(lines,
              (Lines{complete(100, 1, 512, "41 41 41 41 41 41 41 41"), complete(100, 2, 512, "42 42 42 42 42 42 42 42"),
                     complete(100, 3, 256, "43 43 43 43 43 43 43 43"), "done : 3 reads, 1280 bytes, 0 failed"}));
}

TEST_F(ReaderTest, EndsWhenThereIsNothingToRead)
{
    EXPECT_EQ(lines_of_run(32, 2), (Lines{"Main Continue ..", "done : 0 reads, 0 bytes, 0 failed"}));
}

TEST_F(ReaderTest, PassesOverAFileWithoutBlocks)
{
    const TemporaryFile empty;
    const TemporaryFile content("hello");
    add(empty, 100, 0);
    add(content, 200, 1);
    add(empty, 300, 0);
    EXPECT_EQ(sorted(lines_of_run(2, 2)),
              (Lines{complete(200, 1, 5, "68 65 6c 6c 6f"), "Main Continue ..", "done : 1 reads, 5 bytes, 0 failed"}));
}

TEST_F(ReaderTest, GoesOnAfterReadsThatAreRefused)
{
    lab::something_failed = false;
    ConnectedPipe broken;
    broken.close_server();
    const TemporaryFile content("hello");
    add(broken.reader(), 100, 3);
    add(content, 200, 1);
    EXPECT_EQ(sorted(lines_of_run(2, 2)),
              sorted({"Main Continue ..", failure(100, 1, ERROR_BROKEN_PIPE), failure(100, 2, ERROR_BROKEN_PIPE),
                      failure(100, 3, ERROR_BROKEN_PIPE), complete(200, 4, 5, "68 65 6c 6c 6f"),
                      "done : 4 reads, 5 bytes, 3 failed"}));
    EXPECT_EQ(lab::exit_code(), 1) << "a failed read makes the exit code 1";
}

TEST_F(ReaderTest, TakesAnotherReadsPacketWhileOneIsStillPending)
{
    ConnectedPipe silent;
    ConnectedPipe ready;
    ready.write("B");
    add(silent.reader(), 100, 1);
    add(ready.reader(), 200, 1);
    Captured output(STD_OUTPUT_HANDLE);
    std::jthread reader([this] { run(2, 1); });
    Lines early = {output.next_line(), output.next_line()};
    EXPECT_EQ(sorted(early), (Lines{complete(200, 2, 1, "42"), "Main Continue .."}));
    silent.write("A");
    reader.join();
    EXPECT_EQ(output.rest(), (Lines{complete(100, 1, 1, "41"), "done : 2 reads, 2 bytes, 0 failed"}));
}

TEST_F(ReaderTest, HasNoMoreInFlightThanItsDepth)
{
    ConnectedPipe silent;
    ConnectedPipe broken;
    broken.close_server();
    add(silent.reader(), 100, 1);
    add(broken.reader(), 200, 1);
    Captured output(STD_OUTPUT_HANDLE);
    Captured errors(STD_ERROR_HANDLE);
    std::jthread reader([this] { run(1, 2); });
    EXPECT_EQ(output.next_line(), "Main Continue ..") << "the second read was asked for beside the first";
    silent.write("A");
    reader.join();
    EXPECT_EQ(output.rest(), (Lines{complete(100, 1, 1, "41"), failure(200, 2, ERROR_BROKEN_PIPE),
                                    "done : 2 reads, 1 bytes, 1 failed"}));
}

} // namespace
