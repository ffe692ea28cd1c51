// Stage 2's mechanism, on real pipes and files: what one thread asks for, the thread foo waits for.
#include "thread_wait.hpp"

#include "connected_pipe.hpp"

#include <gtest/gtest.h>

namespace {

using units::Captured;
using units::ConnectedPipe;
using units::Lines;
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

// What foo is told about the read.
Waiter waiter_for(OneRead& read, DWORD timeout_ms)
{
    return {read.file, &read.request, timeout_ms};
}

// What foo prints about a read that ended so.
Lines report_of_foo(DWORD error, DWORD bytes)
{
    return {"foo : I/O Complete", "error : " + std::to_string(error), "bytes : " + std::to_string(bytes)};
}

OVERLAPPED at(std::uint64_t offset)
{
    OVERLAPPED request{};
    set_offset(request, offset);
    return request;
}

// ---------------------------------------------------------------- starting

TEST(SetOffset, SplitsTheOffsetIntoTwoHalves)
{
    EXPECT_EQ(at(four_gib - 1).Offset, 0xFFFF'FFFFU);
    EXPECT_EQ(at(four_gib - 1).OffsetHigh, 0U);
    EXPECT_EQ(at(four_gib).Offset, 0U);
    EXPECT_EQ(at(four_gib).OffsetHigh, 1U);
    EXPECT_EQ(at((std::uint64_t{1} << 63) - 1).Offset, 0xFFFF'FFFFU);
    EXPECT_EQ(at((std::uint64_t{1} << 63) - 1).OffsetHigh, 0x7FFF'FFFFU);
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

TEST(StartRead, IsCompletedWhenThePipeHoldsData)
{
    ConnectedPipe pipe;
    pipe.write("hello");
    OneRead read(pipe.reader());
    const Started started = start(read);
    EXPECT_EQ(started.outcome, Outcome::completed);
    EXPECT_EQ(started.error, DWORD{ERROR_SUCCESS});
    EXPECT_TRUE(units::is_set(read.done.get())) << "foo waits for this event, whoever was quicker";
}

TEST(StartRead, IsPendingOnAnEmptyPipe)
{
    const ConnectedPipe pipe;
    OneRead read(pipe.reader());
    const Started started = start(read);
    EXPECT_EQ(started.outcome, Outcome::pending);
    EXPECT_EQ(started.error, DWORD{ERROR_SUCCESS});
    EXPECT_FALSE(units::is_set(read.done.get()));
}

TEST(StartRead, IsRefusedOnABrokenPipe)
{
    ConnectedPipe pipe;
    pipe.close_server();
    OneRead read(pipe.reader());
    const Started started = start(read);
    EXPECT_EQ(started.outcome, Outcome::refused);
    EXPECT_EQ(started.error, DWORD{ERROR_BROKEN_PIPE});
    EXPECT_FALSE(units::is_set(read.done.get())) << "a foo that waited for this would wait for ever";
}

TEST(StartRead, IsRefusedAtANegativeOffset)
{
    const TemporaryFile content("hello");
    const lab::File file = content.open();
    OneRead read(file.get(), std::uint64_t{1} << 63);
    const Started started = start(read);
    EXPECT_EQ(started.outcome, Outcome::refused);
    EXPECT_EQ(started.error, DWORD{ERROR_INVALID_PARAMETER});
}

// ---------------------------------------------------------------- finishing

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

TEST(FinishRead, SucceedsWithoutWaitingWhenTheDataIsThere)
{
    ConnectedPipe pipe;
    pipe.write("hello");
    OneRead read(pipe.reader());
    ASSERT_EQ(start(read).outcome, Outcome::completed);
    const Finished finished = finish(read, 0);
    EXPECT_EQ(finished.error, DWORD{ERROR_SUCCESS});
    EXPECT_EQ(finished.bytes, 5U);
}

TEST(FinishRead, TellsTheWin32CodeOfABrokenPipeAndNotItsNtstatus)
{
    ConnectedPipe pipe;
    OneRead read(pipe.reader());
    ASSERT_EQ(start(read).outcome, Outcome::pending);
    pipe.close_server();
    const Finished finished = finish(read, INFINITE);
    EXPECT_EQ(finished.error, DWORD{ERROR_BROKEN_PIPE});
    EXPECT_EQ(finished.bytes, 0U);
}

TEST(FinishRead, HandsTheBufferBackAfterACancel)
{
    ConnectedPipe pipe;
    OneRead read(pipe.reader());
    ASSERT_EQ(start(read).outcome, Outcome::pending);
    const Finished finished = finish(read, 0);
    EXPECT_EQ(finished.error, DWORD{ERROR_OPERATION_ABORTED});
    EXPECT_EQ(finished.bytes, 0U);
    pipe.write("late");
    EXPECT_EQ(read.text(4), std::string(4, '\0')) << "the kernel wrote into a buffer that is the caller's";
}

TEST(FinishRead, ReportsAWaitThatFailedAndStillSeesTheCompletion)
{
    ConnectedPipe pipe;
    pipe.write("hello");
    OneRead read(pipe.reader());
    ASSERT_EQ(start(read).outcome, Outcome::completed);
    read.request.hEvent = nullptr; // nothing to wait on
    Captured errors(STD_ERROR_HANDLE);
    const Finished finished = finish(read, INFINITE);
    EXPECT_EQ(errors.rest(), Lines{"error : WaitForSingleObject : 6 : " + lab::system_text(ERROR_INVALID_HANDLE)});
    EXPECT_EQ(finished.error, DWORD{ERROR_SUCCESS});
    EXPECT_EQ(finished.bytes, 5U);
}

// ---------------------------------------------------------------- foo

TEST(Foo, TellsHowTheReadEndedWhenCalledLikeAnyFunction)
{
    ConnectedPipe pipe;
    pipe.write("hello");
    OneRead read(pipe.reader());
    ASSERT_EQ(start(read).outcome, Outcome::completed);
    Waiter waiter = waiter_for(read, INFINITE);
    Captured output(STD_OUTPUT_HANDLE);
    EXPECT_EQ(foo(&waiter), 0U);
    EXPECT_EQ(output.rest(), report_of_foo(ERROR_SUCCESS, 5));
    EXPECT_EQ(waiter.finished.error, DWORD{ERROR_SUCCESS});
    EXPECT_EQ(waiter.finished.bytes, 5U);
}

TEST(Foo, WaitsInAThreadForWhatMainHasAskedFor)
{
    ConnectedPipe pipe;
    OneRead read(pipe.reader());
    ASSERT_EQ(start(read).outcome, Outcome::pending);
    Waiter waiter = waiter_for(read, INFINITE);
    Captured output(STD_OUTPUT_HANDLE);
    const lab::Thread thread = start_thread(foo, &waiter);
    ASSERT_TRUE(thread);
    pipe.write("late");
    lab::join(thread);
    EXPECT_EQ(output.rest(), report_of_foo(ERROR_SUCCESS, 4));
    EXPECT_EQ(read.text(waiter.finished.bytes), "late") << "after the join the result is main's";
}

TEST(Foo, CancelsInItsThreadWhatAnotherThreadHasAskedFor)
{
    const ConnectedPipe pipe;
    OneRead read(pipe.reader());
    ASSERT_EQ(start(read).outcome, Outcome::pending);
    Waiter waiter = waiter_for(read, 0);
    Captured output(STD_OUTPUT_HANDLE);
    const lab::Thread thread = start_thread(foo, &waiter);
    ASSERT_TRUE(thread);
    lab::join(thread);
    EXPECT_EQ(output.rest(), report_of_foo(ERROR_OPERATION_ABORTED, 0));
    EXPECT_EQ(waiter.finished.error, DWORD{ERROR_OPERATION_ABORTED});
}

TEST(Foo, LeavesAFailureForMainToReport)
{
    ConnectedPipe pipe;
    OneRead read(pipe.reader());
    ASSERT_EQ(start(read).outcome, Outcome::pending);
    pipe.close_server();
    Waiter waiter = waiter_for(read, INFINITE);
    Captured output(STD_OUTPUT_HANDLE);
    Captured errors(STD_ERROR_HANDLE);
    EXPECT_EQ(foo(&waiter), 0U);
    EXPECT_EQ(output.rest(), report_of_foo(ERROR_BROKEN_PIPE, 0));
    EXPECT_EQ(errors.rest(), Lines{});
    EXPECT_EQ(waiter.finished.error, DWORD{ERROR_BROKEN_PIPE});
}

unsigned __stdcall set_event(void* event)
{
    return SetEvent(*static_cast<HANDLE*>(event)) ? 7 : 8;
}

TEST(StartThread, RunsTheEntryWithItsArgument)
{
    const lab::Event ran = units::manual_reset_event();
    HANDLE argument = ran.get();
    const lab::Thread thread = start_thread(set_event, &argument);
    ASSERT_TRUE(thread);
    lab::join(thread);
    EXPECT_TRUE(units::is_set(ran.get()));
    DWORD result = 0;
    EXPECT_TRUE(GetExitCodeThread(thread.get(), &result));
    EXPECT_EQ(result, 7U);
}

} // namespace
