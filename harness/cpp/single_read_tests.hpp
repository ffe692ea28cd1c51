// single_read_tests: what stages 1 and 2 have in common: the three ways a read can start, and the ways it can end.
//
// Stage 2 states the mechanism again, so that each stage reads by itself; what it must do is stated once, here. Include
// it after the stage's own header: the tests call the set_offset, start_read, cancel_read and finish_read found there.
#pragma once

#include "connected_pipe.hpp"

#include <gtest/gtest.h>

#include <thread>

namespace {

using units::ConnectedPipe;
using units::OneRead;
using units::TemporaryFile;

constexpr std::uint64_t four_gib = std::uint64_t{1} << 32;

Started start(OneRead& read)
{
    return start_read(read.file, read.buffer, read.request);
}

Finished finish(OneRead& read, DWORD timeout_ms)
{
    return finish_read(read.file, read.request, timeout_ms);
}

// How a read ends, no matter where that is said: at the end of a file Windows may refuse it, Wine completes it with 38.
Finished run(OneRead& read)
{
    const Started started = start(read);
    return started.outcome == Outcome::refused ? Finished{started.error, 0} : finish(read, INFINITE);
}

OVERLAPPED at(std::uint64_t offset)
{
    OVERLAPPED request{};
    set_offset(request, offset);
    return request;
}

// ---------------------------------------------------------------- the offset

TEST(SetOffset, PutsASmallOffsetIntoTheLowHalf)
{
    EXPECT_EQ(at(0).Offset, 0U);
    EXPECT_EQ(at(0).OffsetHigh, 0U);
    EXPECT_EQ(at(four_gib - 1).Offset, 0xFFFF'FFFFU);
    EXPECT_EQ(at(four_gib - 1).OffsetHigh, 0U);
}

TEST(SetOffset, CarriesALargeOffsetIntoTheHighHalf)
{
    EXPECT_EQ(at(four_gib).Offset, 0U);
    EXPECT_EQ(at(four_gib).OffsetHigh, 1U);
    EXPECT_EQ(at((std::uint64_t{1} << 63) - 1).Offset, 0xFFFF'FFFFU);
    EXPECT_EQ(at((std::uint64_t{1} << 63) - 1).OffsetHigh, 0x7FFF'FFFFU);
}

TEST(SetOffset, ReplacesTheOffsetThatWasThere)
{
    OVERLAPPED request = at(0x1234'5678'9ABC'DEF0);
    set_offset(request, 7);
    EXPECT_EQ(request.Offset, 7U);
    EXPECT_EQ(request.OffsetHigh, 0U);
}

TEST(SetOffset, LeadsTheReadBeyondFourGiB)
{
    TemporaryFile content("near");
    content.write_at(four_gib + 5, "far");
    const lab::File file = content.open();
    OneRead read(file.get());
    set_offset(read.request, four_gib + 5);
    const Finished finished = run(read);
    EXPECT_EQ(finished.error, DWORD{ERROR_SUCCESS});
    EXPECT_EQ(read.text(finished.bytes), "far");
}

// ---------------------------------------------------------------- the three outcomes of starting

TEST(StartRead, IsCompletedWhenThePipeHoldsData)
{
    ConnectedPipe pipe;
    pipe.write("hello");
    OneRead read(pipe.reader());
    const Started started = start(read);
    EXPECT_EQ(started.outcome, Outcome::completed);
    EXPECT_EQ(started.error, DWORD{ERROR_SUCCESS});
    EXPECT_TRUE(units::is_set(read.done.get())) << "completed at once sets the event as well";
}

TEST(StartRead, IsPendingOnAnEmptyPipe)
{
    const ConnectedPipe pipe;
    OneRead read(pipe.reader());
    const Started started = start(read);
    EXPECT_EQ(started.outcome, Outcome::pending);
    EXPECT_EQ(started.error, DWORD{ERROR_SUCCESS}) << "ERROR_IO_PENDING is no error";
    EXPECT_FALSE(units::is_set(read.done.get())) << "nothing has completed yet";
}

TEST(StartRead, IsAcceptedOnAFile)
{
    const TemporaryFile content("hello");
    const lab::File file = content.open();
    OneRead read(file.get());
    EXPECT_NE(start(read).outcome, Outcome::refused) << "Windows may complete it at once, Wine says pending";
    EXPECT_EQ(finish(read, INFINITE).bytes, 5U);
}

TEST(StartRead, IsRefusedOnABrokenPipe)
{
    ConnectedPipe pipe;
    pipe.close_server();
    OneRead read(pipe.reader());
    const Started started = start(read);
    EXPECT_EQ(started.outcome, Outcome::refused);
    EXPECT_EQ(started.error, DWORD{ERROR_BROKEN_PIPE});
    EXPECT_FALSE(units::is_set(read.done.get())) << "no request, so nothing will ever set the event";
}

TEST(StartRead, IsRefusedAtANegativeOffset)
{
    const TemporaryFile content("hello");
    const lab::File file = content.open();
    OneRead read(file.get(), std::uint64_t{1} << 63);
    const Started started = start(read);
    EXPECT_EQ(started.outcome, Outcome::refused);
    EXPECT_EQ(started.error, DWORD{ERROR_INVALID_PARAMETER});
    EXPECT_FALSE(units::is_set(read.done.get()));
}

// ---------------------------------------------------------------- the ways it ends

TEST(FinishRead, ReturnsTheBytesThatCameAndNotThoseAskedFor)
{
    ConnectedPipe pipe;
    OneRead read(pipe.reader());
    ASSERT_EQ(start(read).outcome, Outcome::pending);
    pipe.write("hello");
    const Finished finished = finish(read, INFINITE);
    EXPECT_EQ(finished.error, DWORD{ERROR_SUCCESS});
    EXPECT_EQ(read.text(finished.bytes), "hello");
}

TEST(FinishRead, WaitsUntilDataComes)
{
    ConnectedPipe pipe;
    OneRead read(pipe.reader());
    ASSERT_EQ(start(read).outcome, Outcome::pending);
    const std::jthread writer([&] { pipe.write("late"); });
    const Finished finished = finish(read, INFINITE);
    EXPECT_EQ(finished.error, DWORD{ERROR_SUCCESS});
    EXPECT_EQ(read.text(finished.bytes), "late");
}

TEST(FinishRead, SucceedsWithoutWaitingWhenTheDataIsThere)
{
    ConnectedPipe pipe;
    pipe.write("hello");
    OneRead read(pipe.reader());
    ASSERT_EQ(start(read).outcome, Outcome::completed);
    const Finished finished = finish(read, 0);
    EXPECT_EQ(finished.error, DWORD{ERROR_SUCCESS});
    EXPECT_EQ(read.text(finished.bytes), "hello");
}

TEST(FinishRead, ReadsTheShortTailOfAFile)
{
    const TemporaryFile content("0123456789");
    const lab::File file = content.open();
    OneRead read(file.get(), 7);
    const Finished finished = run(read);
    EXPECT_EQ(finished.error, DWORD{ERROR_SUCCESS});
    EXPECT_EQ(read.text(finished.bytes), "789");
}

TEST(FinishRead, TellsTheEndOfTheFile)
{
    const TemporaryFile content("0123456789");
    const lab::File file = content.open();
    OneRead read(file.get(), 10);
    const Finished finished = run(read);
    EXPECT_EQ(finished.error, DWORD{ERROR_HANDLE_EOF});
    EXPECT_EQ(finished.bytes, 0U);
}

TEST(FinishRead, TellsThatThePipeBrokeWhileTheReadWasPending)
{
    ConnectedPipe pipe;
    OneRead read(pipe.reader());
    ASSERT_EQ(start(read).outcome, Outcome::pending);
    pipe.close_server();
    const Finished finished = finish(read, INFINITE);
    EXPECT_EQ(finished.error, DWORD{ERROR_BROKEN_PIPE});
    EXPECT_EQ(finished.bytes, 0U);
}

TEST(FinishRead, CancelsAReadThatIsStillPendingAfterTheTimeout)
{
    const ConnectedPipe pipe;
    OneRead read(pipe.reader());
    ASSERT_EQ(start(read).outcome, Outcome::pending);
    const Finished finished = finish(read, 0);
    EXPECT_EQ(finished.error, DWORD{ERROR_OPERATION_ABORTED});
    EXPECT_EQ(finished.bytes, 0U);
}

TEST(FinishRead, WaitsForTheCompletionOfWhatItHasCancelled)
{
    const ConnectedPipe pipe;
    OneRead read(pipe.reader());
    ASSERT_EQ(start(read).outcome, Outcome::pending);
    Finished finished{};
    std::jthread([&] { finished = finish(read, 0); }).join(); // cancelled from elsewhere, it takes a moment to complete
    EXPECT_EQ(finished.error, DWORD{ERROR_OPERATION_ABORTED});
}

TEST(FinishRead, HandsTheBufferBackEvenAfterACancel)
{
    ConnectedPipe pipe;
    OneRead cancelled(pipe.reader());
    ASSERT_EQ(start(cancelled).outcome, Outcome::pending);
    ASSERT_EQ(finish(cancelled, 0).error, DWORD{ERROR_OPERATION_ABORTED});
    pipe.write("late");
    EXPECT_EQ(cancelled.text(4), std::string(4, '\0')) << "the kernel wrote into a buffer that is the caller's";

    OneRead next(pipe.reader());
    EXPECT_EQ(next.text(run(next).bytes), "late");
}

TEST(FinishRead, ReportsAWaitThatFailedAndStillSeesTheCompletion)
{
    ConnectedPipe pipe;
    pipe.write("hello");
    OneRead read(pipe.reader());
    ASSERT_EQ(start(read).outcome, Outcome::completed);
    read.request.hEvent = nullptr; // nothing to wait on
    units::Captured errors(STD_ERROR_HANDLE);
    const Finished finished = finish(read, INFINITE);
    EXPECT_EQ(errors.rest(),
              units::Lines{"error : WaitForSingleObject : 6 : " + lab::system_text(ERROR_INVALID_HANDLE)});
    EXPECT_EQ(finished.error, DWORD{ERROR_SUCCESS});
    EXPECT_EQ(finished.bytes, 5U);
}

TEST(CancelRead, OfAReadThatIsOverIsNoFailure)
{
    ConnectedPipe pipe;
    pipe.write("hello");
    OneRead read(pipe.reader());
    ASSERT_EQ(start(read).outcome, Outcome::completed);
    units::Captured errors(STD_ERROR_HANDLE);
    cancel_read(read.file, read.request);
    EXPECT_EQ(errors.rest(), units::Lines{});
}

TEST(CancelRead, TriesTwiceAndReportsEachFailure)
{
    OVERLAPPED request{};
    units::Captured errors(STD_ERROR_HANDLE);
    cancel_read(nullptr, request);
    const std::string line = "error : CancelIoEx : 6 : " + lab::system_text(ERROR_INVALID_HANDLE);
    EXPECT_EQ(errors.rest(), (units::Lines{line, line}));
}

} // namespace
