// Stage 2's mechanism, on real pipes and files: the read itself, and the thread that waits for it.
#include "thread_wait.hpp"

#include "single_read_tests.hpp"

namespace {

using units::Captured;
using units::Lines;

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
