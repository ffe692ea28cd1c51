// A recorded call: its arguments, its result, its caller, and what the plan does to it.
#include "threads.hpp"
#include "traced.hpp"

namespace {

using units::Entry;
using units::hex;

class Call : public units::Traced {};

// Each lets the executable call through its import: the compiler may not know that the function changed.
PROBE_NOT_INLINED HANDLE make_event()
{
    return CreateEventW(nullptr, TRUE, FALSE, nullptr);
}

PROBE_NOT_INLINED BOOL close(HANDLE handle)
{
    return CloseHandle(handle) != FALSE; // a result still to be worked on: no tail call, which would have no caller
}

TEST_F(Call, IsRecordedWithArgumentsResultAndError)
{
    const HANDLE event = make_event();
    const std::vector<Entry> all = entries();
    ASSERT_GE(all.size(), 2U);
    const Entry call = calls("CreateEventW").at(0);
    EXPECT_EQ(call.fields[2], hex(GetCurrentThreadId()));
    EXPECT_EQ((std::vector<std::string>{call.fields.begin() + 6, call.fields.end()}),
              (std::vector<std::string>{"0", "1", "0", "0"}));
    EXPECT_EQ(done("CreateEventW").fields[4], units::hex_of(event));
    close(event);
}

TEST_F(Call, LeavesTheErrorAndRecordsIt)
{
    SetLastError(ERROR_SUCCESS);
    EXPECT_FALSE(close(reinterpret_cast<HANDLE>(0x666)));
    EXPECT_EQ(GetLastError(), DWORD{ERROR_INVALID_HANDLE}) << "what the program sees is what the call has left";
    EXPECT_EQ(done("CloseHandle").fields[4], "0");
    EXPECT_EQ(done("CloseHandle").fields[5], "6");
}

TEST_F(Call, ThatSucceedsLeavesTheErrorBefore)
{
    SetLastError(4321);
    const HANDLE event = CreateEventW(nullptr, TRUE, FALSE, nullptr);
    SetLastError(4321);
    EXPECT_TRUE(SetEvent(event));
    EXPECT_EQ(GetLastError(), 4321U);
    close(event);
    EXPECT_EQ(GetLastError(), 4321U);
}

TEST_F(Call, KnowsWhoMadeIt)
{
    close(reinterpret_cast<HANDLE>(0x666));
    const std::uint64_t caller = std::stoull(calls("CloseHandle").at(0).fields[4], nullptr, 16);
    const auto function = probe::as_number(&close);
    EXPECT_TRUE(caller > function && caller < function + 256) << "the return address lies in the caller";
}

TEST_F(Call, TellsThePathAndTheBytes)
{
    const HANDLE nul = CreateFileW(L"NUL", GENERIC_WRITE, 0, nullptr, OPEN_EXISTING, 0, nullptr);
    DWORD written = 0;
    EXPECT_TRUE(WriteFile(nul, "abc", 3, &written, nullptr));
    EXPECT_EQ(CreateFileW(L"C:\\no\\한 100%\t", GENERIC_READ, 0, nullptr, OPEN_EXISTING, 0, nullptr),
              INVALID_HANDLE_VALUE);
    close(nul);
    EXPECT_EQ(calls("CreateFileW").at(0).fact("path"), "NUL");
    EXPECT_EQ(calls("CreateFileW").at(1).fact("path"), "C:\\no\\한 100%25%09");
    EXPECT_EQ(done("WriteFile").fact("bytes"), "3");
}

TEST_F(Call, OfSeveralHandlesTellsThemAll)
{
    const HANDLE events[] = {make_event(), make_event()};
    WaitForMultipleObjects(2, events, TRUE, 0);
    EXPECT_EQ(calls("WaitForMultipleObjects").at(0).fact("handles"),
              units::hex_of(events[0]) + "," + units::hex_of(events[1]));
    EXPECT_EQ(done("WaitForMultipleObjects").fields[4], hex(WAIT_TIMEOUT));
    close(events[0]);
    close(events[1]);
}

TEST_F(Call, FailsWhereThePlanSaysSo)
{
    probe::plan_injections("CreateEventW 0 fail 8");
    EXPECT_EQ(make_event(), nullptr);
    EXPECT_EQ(GetLastError(), DWORD{ERROR_NOT_ENOUGH_MEMORY});
    EXPECT_EQ(done("CreateEventW").fact("injected"), "fail");
}

TEST_F(Call, IsHeldUntilAnotherWasMade)
{
    const HANDLE event = make_event();
    static probe::Counter counter{"CountedOnlyHere"}; // the list keeps it
    probe::add_counter(counter);
    probe::plan_injections("ResetEvent 0 hold CountedOnlyHere 2");
    const HANDLE holder = CreateThread(
        nullptr, 0, [](void* object) -> DWORD { return ResetEvent(object) ? 0U : 1U; }, event, 0, nullptr);
    probe::begin_counted(counter);
    probe::begin_counted(counter);
    WaitForSingleObject(holder, INFINITE);
    EXPECT_EQ(done("ResetEvent").fact("injected"), "hold");
    close(holder);
    close(event);
}

TEST_F(Call, WithAHandleThatWasClosedFailsAndIsTold)
{
    const HANDLE event = make_event();
    EXPECT_TRUE(close(event));
    const HANDLE next = make_event();
    EXPECT_NE(next, event) << "its slot is kept";
    EXPECT_FALSE(close(event));
    EXPECT_EQ(GetLastError(), DWORD{ERROR_INVALID_HANDLE});
    EXPECT_EQ(WaitForSingleObject(event, 0), WAIT_FAILED);
    ASSERT_EQ(notes("closed-handle").size(), 2U);
    EXPECT_EQ(notes("closed-handle")[0].fact("handle"), units::hex_of(event));
    EXPECT_EQ(notes("closed-handle")[1].fact("name"), "WaitForSingleObject");
    close(next);
}

TEST_F(Call, OfAThreadThatItMadeIsJoinedToIt)
{
    const HANDLE thread = CreateThread(
        nullptr, 0,
        [](void*) -> DWORD {
            probe::forget_thread();
            return 7;
        },
        nullptr, 0, nullptr);
    WaitForSingleObject(thread, INFINITE);
    DWORD code = 0;
    EXPECT_TRUE(GetExitCodeThread(thread, &code));
    EXPECT_EQ(code, 7U);
    const Entry started = notes("thread-start").at(0);
    EXPECT_EQ(started.fact("of"), calls("CreateThread").at(0).fields[1]);
    EXPECT_EQ(started.fields[2], done("CreateThread").fact("thread"));
    EXPECT_EQ(notes("thread-end").size(), 1U);
    close(thread);
}

} // namespace
