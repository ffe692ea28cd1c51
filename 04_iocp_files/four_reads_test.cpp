// Stage 4, the problem: what Read4kAsync hands back, on real pipes and files.
#include "four_reads.hpp"

#include "connected_pipe.hpp"

#include <gtest/gtest.h>

namespace {

using units::ConnectedPipe;
using units::TemporaryFile;

constexpr std::uint64_t four_gib = std::uint64_t{1} << 32;

// Keeps a request as the program does, and gives it up if a test ends before it has completed.
class Kept {
public:
    explicit Kept(Started started) : started_(std::move(started)) {}
    ~Kept()
    {
        if (started_.request)
            units::take_back(started_.request->file, *started_.request);
    }
    Kept(const Kept&) = delete;
    Kept& operator=(const Kept&) = delete;

    const Started& operator*() const { return started_; }
    const Started* operator->() const { return &started_; }

private:
    Started started_;
};

// Waits for the read and returns what it has read; "error 38" if it failed.
std::string result_of(const Started& started)
{
    if (!started.request)
        return "error " + std::to_string(started.error);
    DWORD bytes = 0;
    if (!GetOverlappedResult(started.request->file, started.request.get(), &bytes, TRUE))
        return "error " + std::to_string(GetLastError());
    return {reinterpret_cast<const char*>(started.request->buffer.get()), bytes};
}

std::string block_of(char letter, std::size_t bytes = block_size)
{
    return std::string(bytes, letter);
}

TEST(Read4kAsync, KeepsARequestThatIsPending)
{
    ConnectedPipe pipe;
    const Kept read(Read4kAsync(pipe.reader(), 0, 7));
    ASSERT_TRUE(read->request);
    EXPECT_EQ(read->call, nullptr);
    EXPECT_EQ(read->error, DWORD{ERROR_SUCCESS});
    EXPECT_FALSE(units::is_set(read->request->hEvent));
    pipe.write("late");
    EXPECT_EQ(result_of(*read), "late");
    EXPECT_TRUE(units::is_set(read->request->hEvent));
}

TEST(Read4kAsync, KeepsARequestThatCompletedAtOnce)
{
    ConnectedPipe pipe;
    pipe.write("hello");
    const Kept read(Read4kAsync(pipe.reader(), 0, 7));
    ASSERT_TRUE(read->request) << "TRUE is a success, not a refusal";
    EXPECT_TRUE(units::is_set(read->request->hEvent));
    EXPECT_EQ(result_of(*read), "hello");
}

TEST(Read4kAsync, NamesTheCallThatRefused)
{
    ConnectedPipe pipe;
    pipe.close_server();
    const Kept read(Read4kAsync(pipe.reader(), 0, 7));
    EXPECT_FALSE(read->request);
    EXPECT_STREQ(read->call, "ReadFile");
    EXPECT_EQ(read->error, DWORD{ERROR_BROKEN_PIPE});
}

TEST(Read4kAsync, IsRefusedAtANegativeOffset)
{
    const TemporaryFile content(block_of('A'));
    const lab::File file = content.open();
    const Kept read(Read4kAsync(file.get(), std::uint64_t{1} << 63, 7));
    EXPECT_FALSE(read->request);
    EXPECT_EQ(read->error, DWORD{ERROR_INVALID_PARAMETER});
}

TEST(Read4kAsync, ReadsTheBlockItWasAskedFor)
{
    const TemporaryFile content(block_of('A') + block_of('B') + block_of('C', 10));
    const lab::File file = content.open();
    const Kept third(Read4kAsync(file.get(), 2 * block_size, 3));
    const Kept first(Read4kAsync(file.get(), 0, 1));
    const Kept second(Read4kAsync(file.get(), block_size, 2));
    const Kept fourth(Read4kAsync(file.get(), 3 * block_size, 4));
    EXPECT_EQ(result_of(*first), block_of('A'));
    EXPECT_EQ(result_of(*second), block_of('B'));
    EXPECT_EQ(result_of(*third), block_of('C', 10)) << "the last block is short";
    EXPECT_EQ(result_of(*fourth), "error 38");
}

TEST(Read4kAsync, ReadsBeyondFourGiB)
{
    TemporaryFile content(block_of('A'));
    content.write_at(four_gib + 5, "far");
    const lab::File file = content.open();
    const Kept read(Read4kAsync(file.get(), four_gib + 5, 1));
    EXPECT_EQ(result_of(*read), "far");
}

TEST(Read4kAsync, SplitsTheOffsetIntoTwoHalves)
{
    const TemporaryFile content;
    const lab::File file = content.open();
    const OVERLAPPED_PLUS low(file.get(), four_gib - 1, 1);
    const OVERLAPPED_PLUS high(file.get(), four_gib, 2);
    EXPECT_EQ(low.Offset, 0xFFFF'FFFFU);
    EXPECT_EQ(low.OffsetHigh, 0U);
    EXPECT_EQ(high.Offset, 0U);
    EXPECT_EQ(high.OffsetHigh, 1U);
}

TEST(Read4kAsync, KeepsTheNumberOfEachRequest)
{
    const ConnectedPipe pipe;
    const Kept first(Read4kAsync(pipe.reader(), 0, 1));
    const Kept second(Read4kAsync(pipe.reader(), 0, 2));
    ASSERT_TRUE(first->request && second->request);
    EXPECT_EQ(first->request->id, 1);
    EXPECT_EQ(second->request->id, 2);
    EXPECT_EQ(first->request->file, pipe.reader());
}

TEST(Read4kAsync, GivesEachRequestItsOwnEventAndBuffer)
{
    ConnectedPipe pipes[2];
    const Kept first(Read4kAsync(pipes[0].reader(), 0, 1));
    const Kept second(Read4kAsync(pipes[1].reader(), 0, 2));
    ASSERT_TRUE(first->request && second->request);
    EXPECT_NE(first->request->buffer.get(), second->request->buffer.get());
    pipes[1].write("B");
    EXPECT_EQ(result_of(*second), "B");
    EXPECT_FALSE(units::is_set(first->request->hEvent)) << "the second read has set the event of the first";
    pipes[0].write("A");
    EXPECT_EQ(result_of(*first), "A");
}

} // namespace
