// Stage 3's mechanism, on real pipes and files: the context that travels with its OVERLAPPED, and who frees it.
#include "overlapped_plus.hpp"

#include "connected_pipe.hpp"

#include <gtest/gtest.h>

namespace {

using units::Captured;
using units::ConnectedPipe;
using units::Lines;
using units::TemporaryFile;

constexpr std::uint64_t four_gib = std::uint64_t{1} << 32;

// A test that ends early frees no context that the kernel still has.
struct TakeBack {
    void operator()(OVERLAPPED_PLUS* context) const noexcept
    {
        units::take_back(context->file, *context);
        delete context;
    }
};
using Context = std::unique_ptr<OVERLAPPED_PLUS, TakeBack>;

Context context_for(HANDLE file, std::uint64_t offset = 0, DWORD timeout_ms = INFINITE)
{
    return Context(new OVERLAPPED_PLUS(file, offset, timeout_ms));
}

// Lets go of a context as main does: from here on it is foo's.
OVERLAPPED* given_to_foo(Context context)
{
    return context.release();
}

std::string text_in(const OVERLAPPED_PLUS& context, DWORD bytes)
{
    return {reinterpret_cast<const char*>(context.block().data()), bytes};
}

// How a read ends, no matter where that is said: at the end of a file Windows may refuse it, Wine completes it with 38.
Finished run(OVERLAPPED_PLUS& context)
{
    const Started started = start_read(context);
    return started.outcome == Outcome::refused ? Finished{started.error, 0} : finish_read(context);
}

// ---------------------------------------------------------------- the context

TEST(Context, IsReadyToBeStarted)
{
    const Context context = context_for(nullptr, four_gib + 5, 7);
    EXPECT_EQ(context->Offset, 5U);
    EXPECT_EQ(context->OffsetHigh, 1U);
    EXPECT_EQ(context->Internal, 0U);
    EXPECT_EQ(context->InternalHigh, 0U);
    EXPECT_EQ(context->timeout_ms, 7U);
    EXPECT_EQ(context->hEvent, context->done.get());
    EXPECT_FALSE(units::is_set(context->hEvent));
}

TEST(Context, TakesEveryOffsetThatHasSixtyThreeBits)
{
    EXPECT_EQ(context_for(nullptr, four_gib - 1)->Offset, 0xFFFF'FFFFU);
    EXPECT_EQ(context_for(nullptr, four_gib - 1)->OffsetHigh, 0U);
    EXPECT_EQ(context_for(nullptr, four_gib)->Offset, 0U);
    EXPECT_EQ(context_for(nullptr, four_gib)->OffsetHigh, 1U);
    EXPECT_EQ(context_for(nullptr, (std::uint64_t{1} << 63) - 1)->Offset, 0xFFFF'FFFFU);
    EXPECT_EQ(context_for(nullptr, (std::uint64_t{1} << 63) - 1)->OffsetHigh, 0x7FFF'FFFFU);
}

TEST(Context, HasAManualResetEvent)
{
    const Context context = context_for(nullptr);
    SetEvent(context->hEvent);
    EXPECT_TRUE(units::is_set(context->hEvent));
    EXPECT_TRUE(units::is_set(context->hEvent)) << "the first look has used the event up";
}

TEST(Context, SharesNeitherBufferNorEvent)
{
    const Context one = context_for(nullptr);
    const Context other = context_for(nullptr);
    EXPECT_NE(one->block().data(), other->block().data());
    EXPECT_NE(one->hEvent, other->hEvent);
    EXPECT_EQ(one->block().size(), block_size);
}

TEST(Context, ClosesItsEventButNotTheFileItBorrows)
{
    const ConnectedPipe pipe;
    Context context = context_for(pipe.reader());
    const HANDLE event = context->hEvent;
    context.reset();
    EXPECT_FALSE(units::is_open(event));
    EXPECT_TRUE(units::is_open(pipe.reader()));
}

TEST(ContextOf, LeadsFromTheOverlappedBackToItsContext)
{
    const Context context = context_for(nullptr, 0, 7);
    OVERLAPPED* const request = context.get();
    EXPECT_EQ(&context_of(request), context.get());
    EXPECT_EQ(context_of(request).timeout_ms, 7U);
}

// ---------------------------------------------------------------- starting and finishing

TEST(StartRead, IsCompletedWhenThePipeHoldsData)
{
    ConnectedPipe pipe;
    pipe.write("hello");
    const Context context = context_for(pipe.reader());
    EXPECT_EQ(start_read(*context).outcome, Outcome::completed);
    EXPECT_TRUE(units::is_set(context->hEvent));
}

TEST(StartRead, IsPendingOnAnEmptyPipe)
{
    const ConnectedPipe pipe;
    const Context context = context_for(pipe.reader());
    const Started started = start_read(*context);
    EXPECT_EQ(started.outcome, Outcome::pending);
    EXPECT_EQ(started.error, DWORD{ERROR_SUCCESS});
    EXPECT_FALSE(units::is_set(context->hEvent));
}

TEST(StartRead, IsRefusedOnABrokenPipe)
{
    ConnectedPipe pipe;
    pipe.close_server();
    const Context context = context_for(pipe.reader());
    const Started started = start_read(*context);
    EXPECT_EQ(started.outcome, Outcome::refused);
    EXPECT_EQ(started.error, DWORD{ERROR_BROKEN_PIPE});
    EXPECT_FALSE(units::is_set(context->hEvent));
}

TEST(StartRead, IsRefusedAtANegativeOffset)
{
    const TemporaryFile content("hello");
    const lab::File file = content.open();
    const Context context = context_for(file.get(), std::uint64_t{1} << 63);
    const Started started = start_read(*context);
    EXPECT_EQ(started.outcome, Outcome::refused);
    EXPECT_EQ(started.error, DWORD{ERROR_INVALID_PARAMETER});
}

TEST(FinishRead, FindsTheDataInTheContextsOwnBuffer)
{
    ConnectedPipe pipe;
    const Context context = context_for(pipe.reader());
    ASSERT_EQ(start_read(*context).outcome, Outcome::pending);
    pipe.write("hello");
    const Finished finished = finish_read(*context);
    EXPECT_EQ(finished.error, DWORD{ERROR_SUCCESS});
    EXPECT_EQ(text_in(*context, finished.bytes), "hello");
}

TEST(FinishRead, ReadsBeyondFourGiB)
{
    TemporaryFile content("near");
    content.write_at(four_gib + 5, "far");
    const lab::File file = content.open();
    const Context context = context_for(file.get(), four_gib + 5);
    const Finished finished = run(*context);
    EXPECT_EQ(finished.error, DWORD{ERROR_SUCCESS});
    EXPECT_EQ(text_in(*context, finished.bytes), "far");
}

TEST(FinishRead, TellsTheEndOfTheFile)
{
    const TemporaryFile content("0123456789");
    const lab::File file = content.open();
    const Context context = context_for(file.get(), 10);
    const Finished finished = run(*context);
    EXPECT_EQ(finished.error, DWORD{ERROR_HANDLE_EOF});
    EXPECT_EQ(finished.bytes, 0U);
}

TEST(FinishRead, SucceedsWithoutWaitingWhenTheDataIsThere)
{
    ConnectedPipe pipe;
    pipe.write("hello");
    const Context context = context_for(pipe.reader(), 0, 0);
    ASSERT_EQ(start_read(*context).outcome, Outcome::completed);
    const Finished finished = finish_read(*context);
    EXPECT_EQ(finished.error, DWORD{ERROR_SUCCESS});
    EXPECT_EQ(finished.bytes, 5U);
}

TEST(FinishRead, CancelsAfterTheTimeoutOfTheContext)
{
    ConnectedPipe pipe;
    const Context context = context_for(pipe.reader(), 0, 0);
    ASSERT_EQ(start_read(*context).outcome, Outcome::pending);
    const Finished finished = finish_read(*context);
    EXPECT_EQ(finished.error, DWORD{ERROR_OPERATION_ABORTED});
    EXPECT_EQ(finished.bytes, 0U);
    pipe.write("late");
    EXPECT_EQ(text_in(*context, 4), std::string(4, '\0')) << "the kernel wrote into a buffer that is the caller's";
}

TEST(FinishRead, ReportsAWaitThatFailedAndStillSeesTheCompletion)
{
    ConnectedPipe pipe;
    pipe.write("hello");
    const Context context = context_for(pipe.reader());
    ASSERT_EQ(start_read(*context).outcome, Outcome::completed);
    context->hEvent = nullptr; // nothing to wait on
    Captured errors(STD_ERROR_HANDLE);
    const Finished finished = finish_read(*context);
    EXPECT_EQ(errors.rest(), Lines{"error : WaitForSingleObject : 6 : " + lab::system_text(ERROR_INVALID_HANDLE)});
    EXPECT_EQ(finished.bytes, 5U);
}

// ---------------------------------------------------------------- foo

TEST(Foo, ShowsTheDataAndFreesTheContextWhenCalledLikeAnyFunction)
{
    ConnectedPipe pipe;
    pipe.write("hello");
    Context context = context_for(pipe.reader());
    const HANDLE event = context->hEvent;
    ASSERT_EQ(start_read(*context).outcome, Outcome::completed);
    Captured output(STD_OUTPUT_HANDLE);
    EXPECT_EQ(foo(given_to_foo(std::move(context))), 0U);
    EXPECT_FALSE(units::is_open(event)) << "the context, which closes its event, was not freed";
    EXPECT_EQ(output.rest(), (Lines{"foo : I/O Complete", "error : 0", "bytes : 5", "data : 68 65 6c 6c 6f"}));
}

TEST(Foo, FreesTheContextInItsThread)
{
    ConnectedPipe pipe;
    Context context = context_for(pipe.reader());
    const HANDLE event = context->hEvent;
    ASSERT_EQ(start_read(*context).outcome, Outcome::pending);
    Captured output(STD_OUTPUT_HANDLE);
    const lab::Thread thread = start_thread(foo, given_to_foo(std::move(context)));
    ASSERT_TRUE(thread);
    pipe.write("late");
    lab::join(thread);
    EXPECT_FALSE(units::is_open(event));
    EXPECT_TRUE(units::is_open(pipe.reader())) << "the file is main's";
    EXPECT_EQ(output.rest(), (Lines{"foo : I/O Complete", "error : 0", "bytes : 4", "data : 6c 61 74 65"}));
}

TEST(Foo, FreesTheContextOfAReadThatFailedAndReportsIt)
{
    const ConnectedPipe pipe;
    Context context = context_for(pipe.reader(), 0, 0);
    const HANDLE event = context->hEvent;
    ASSERT_EQ(start_read(*context).outcome, Outcome::pending);
    Captured output(STD_OUTPUT_HANDLE);
    Captured errors(STD_ERROR_HANDLE);
    const lab::Thread thread = start_thread(foo, given_to_foo(std::move(context)));
    ASSERT_TRUE(thread);
    lab::join(thread);
    EXPECT_FALSE(units::is_open(event));
    EXPECT_EQ(output.rest(), (Lines{"foo : I/O Complete", "error : 995", "bytes : 0"}));
    EXPECT_EQ(errors.rest(), Lines{"error : ReadFile : 995 : " + lab::system_text(ERROR_OPERATION_ABORTED)});
}

TEST(Foo, OfEachRequestShowsThatRequestsData)
{
    ConnectedPipe pipes[2];
    Context first = context_for(pipes[0].reader());
    Context second = context_for(pipes[1].reader());
    ASSERT_EQ(start_read(*first).outcome, Outcome::pending);
    ASSERT_EQ(start_read(*second).outcome, Outcome::pending);
    Captured output(STD_OUTPUT_HANDLE);
    const lab::Thread threads[] = {start_thread(foo, given_to_foo(std::move(first))),
                                   start_thread(foo, given_to_foo(std::move(second)))};
    ASSERT_TRUE(threads[0] && threads[1]);
    pipes[1].write("B");
    lab::join(threads[1]);
    pipes[0].write("A");
    lab::join(threads[0]);
    EXPECT_EQ(output.rest(), (Lines{"foo : I/O Complete", "error : 0", "bytes : 1", "data : 42", //
                                    "foo : I/O Complete", "error : 0", "bytes : 1", "data : 41"}));
}

} // namespace
