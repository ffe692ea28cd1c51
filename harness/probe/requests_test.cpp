// Requests in flight on a real pipe, and what the plan makes of them.
#include "requests.hpp"

#include "statuses.hpp"
#include "traced.hpp"

#include <string>
#include <thread>

namespace {

using units::Entry;

// A byte pipe whose reading end is what a stage would open, with an event for one request.
class OnPipe : public units::Traced {
protected:
    void SetUp() override
    {
        Traced::SetUp();
        static int number = 0;
        const std::wstring name =
            L"\\\\.\\pipe\\probe-units-" + std::to_wstring(GetCurrentProcessId()) + L"-" + std::to_wstring(++number);
        writer = CreateNamedPipeW(name.c_str(), PIPE_ACCESS_OUTBOUND, 0, 1, 4096, 4096, 0, nullptr);
        ASSERT_NE(writer, INVALID_HANDLE_VALUE);
        reader = CreateFileW(name.c_str(), GENERIC_READ, 0, nullptr, OPEN_EXISTING, FILE_FLAG_OVERLAPPED, nullptr);
        ASSERT_NE(reader, INVALID_HANDLE_VALUE);
        event = CreateEventW(nullptr, TRUE, FALSE, nullptr);
        request.hEvent = event;
        forget_lines();
    }
    void TearDown() override
    {
        CloseHandle(writer);
        CloseHandle(reader);
        DWORD ignored = 0;
        GetOverlappedResult(reader, &request, &ignored, FALSE); // what is still in flight is over now
        probe::observe(&request);
        CloseHandle(event);
        Traced::TearDown();
    }

    // 0, or the error.
    DWORD read() { return ReadFile(reader, buffer, sizeof buffer, nullptr, &request) ? 0 : GetLastError(); }
    void feed(const char* text) const
    {
        DWORD written = 0;
        EXPECT_TRUE(WriteFile(writer, text, static_cast<DWORD>(std::strlen(text)), &written, nullptr));
    }
    // "error bytes"
    std::string result()
    {
        DWORD bytes = 0;
        const DWORD error = GetOverlappedResult(reader, &request, &bytes, TRUE) ? 0 : GetLastError();
        return std::to_string(error) + " " + std::to_string(error == 0 ? bytes : 0);
    }
    bool is_set() const { return WaitForSingleObject(event, 0) == WAIT_OBJECT_0; }
    void put_on_port()
    {
        port = CreateIoCompletionPort(reader, nullptr, 77, 0);
        ASSERT_NE(port, nullptr);
        request.hEvent = nullptr;
    }
    // "taken error bytes key mine"
    std::string packet(DWORD timeout_ms = 0) const
    {
        DWORD bytes = 0;
        ULONG_PTR key = 0;
        OVERLAPPED* brought = nullptr;
        const BOOL taken = GetQueuedCompletionStatus(port, &bytes, &key, &brought, timeout_ms);
        const DWORD error = taken ? 0 : GetLastError();
        if (brought == nullptr)
            return "none " + std::to_string(error);
        return std::to_string(taken) + " " + std::to_string(error) + " " + std::to_string(bytes) + " " +
               std::to_string(key) + " " + std::to_string(brought == &request);
    }

    HANDLE writer = nullptr;
    HANDLE reader = nullptr;
    HANDLE event = nullptr;
    HANDLE port = nullptr;
    OVERLAPPED request{};
    char buffer[64]{};
};

TEST_F(OnPipe, ASubmitTellsItsRequestAndBuffer)
{
    request.OffsetHigh = 1;
    EXPECT_EQ(read(), DWORD{ERROR_IO_PENDING});
    feed("abc");
    EXPECT_EQ(result(), "0 3");
    const Entry call = calls("ReadFile").at(0);
    EXPECT_EQ(call.fact("ov"), units::hex_of(&request));
    EXPECT_EQ(call.fact("ov_in").substr(0, 5), "heap:") << "gtest has the fixture on the heap";
    EXPECT_EQ(call.fact("buf"), units::hex_of(buffer));
    EXPECT_EQ(call.fact("len"), "40");
    EXPECT_EQ(call.fact("off"), "100000000");
    EXPECT_EQ(call.fact("event"), units::hex_of(event));
    EXPECT_EQ(done("GetOverlappedResult").fact("bytes"), "3");
}

TEST_F(OnPipe, CompleteWaitsAndSaysItWasDoneAtOnce)
{
    feed("abc");
    probe::plan_injections("ReadFile 0 complete");
    EXPECT_EQ(read(), 0U);
    EXPECT_TRUE(is_set());
    EXPECT_EQ(result(), "0 3");
    EXPECT_EQ(done("ReadFile").fact("injected"), "complete");
}

TEST_F(OnPipe, CompleteLeavesThePacket)
{
    put_on_port();
    feed("abc");
    probe::plan_injections("ReadFile 0 complete");
    EXPECT_EQ(read(), 0U);
    EXPECT_EQ(packet(), "1 0 3 77 1");
}

TEST_F(OnPipe, CompleteInSkipModeLeavesNoPacket)
{
    put_on_port();
    EXPECT_TRUE(SetFileCompletionNotificationModes(reader, FILE_SKIP_COMPLETION_PORT_ON_SUCCESS));
    feed("abc");
    probe::plan_injections("ReadFile 0 complete");
    EXPECT_EQ(read(), 0U);
    EXPECT_EQ(packet(), "none 258");
}

TEST_F(OnPipe, PendInSkipModeHasItsPacket)
{
    put_on_port();
    EXPECT_TRUE(SetFileCompletionNotificationModes(reader, FILE_SKIP_COMPLETION_PORT_ON_SUCCESS));
    feed("abc");
    probe::plan_injections("ReadFile 0 pend");
    EXPECT_EQ(read(), DWORD{ERROR_IO_PENDING});
    EXPECT_EQ(packet(), "none 258") << "a first look";
    EXPECT_EQ(packet(), "1 0 3 77 1") << "the program was told to wait for it";
}

TEST_F(OnPipe, PendPutsTheReadOffUntilSomebodyWaits)
{
    feed("abc");
    probe::plan_injections("ReadFile 0 pend");
    EXPECT_EQ(read(), DWORD{ERROR_IO_PENDING});
    EXPECT_FALSE(HasOverlappedIoCompleted(&request));
    EXPECT_EQ(WaitForSingleObject(event, INFINITE), WAIT_OBJECT_0);
    EXPECT_EQ(result(), "0 3");
}

TEST_F(OnPipe, PendIsNotEndedByAFirstLook)
{
    feed("abc");
    probe::plan_injections("ReadFile 0 pend");
    EXPECT_EQ(read(), DWORD{ERROR_IO_PENDING});
    EXPECT_FALSE(is_set());
    EXPECT_TRUE(is_set()) << "who polls gets on";
}

TEST_F(OnPipe, PendIsCancelledLikeAnyRequest)
{
    feed("abc");
    probe::plan_injections("ReadFile 0 pend");
    EXPECT_EQ(read(), DWORD{ERROR_IO_PENDING});
    EXPECT_TRUE(CancelIoEx(reader, &request));
    EXPECT_EQ(result(), "995 0");
}

TEST_F(OnPipe, PendIsMadeByADequeue)
{
    put_on_port();
    feed("abc");
    probe::plan_injections("ReadFile 0 pend");
    EXPECT_EQ(read(), DWORD{ERROR_IO_PENDING});
    EXPECT_EQ(packet(), "none 258") << "a first look";
    EXPECT_EQ(packet(), "1 0 3 77 1");
}

TEST_F(OnPipe, PendIsMadeAtOnceIfAWorkerWaitsAlready)
{
    put_on_port();
    feed("abc");
    std::string came;
    std::thread worker([&] { came = packet(INFINITE); });
    while (calls("GetQueuedCompletionStatus").empty()) // it is in the dequeue, or about to be
        std::this_thread::yield();
    probe::plan_injections("ReadFile 0 pend");
    EXPECT_EQ(read(), DWORD{ERROR_IO_PENDING});
    worker.join();
    EXPECT_EQ(came, "1 0 3 77 1");
}

TEST_F(OnPipe, PendForAWhileNeedsNobody)
{
    feed("abc");
    probe::plan_injections("ReadFile 0 pend-ms 1");
    EXPECT_EQ(read(), DWORD{ERROR_IO_PENDING});
    EXPECT_EQ(probe::os().wait_for_single_object(event, INFINITE), WAIT_OBJECT_0); // a wait the probe does not see
    EXPECT_EQ(result(), "0 3");
}

TEST_F(OnPipe, ACompletionFailsWithTheCodeAsked)
{
    probe::plan_injections("ReadFile 0 fail-completion 1117");
    EXPECT_EQ(read(), DWORD{ERROR_IO_PENDING});
    EXPECT_TRUE(is_set());
    EXPECT_EQ(result(), "1117 0");
}

TEST_F(OnPipe, AFailedCompletionIsAPacketToo)
{
    put_on_port();
    probe::plan_injections("ReadFile 0 fail-completion 109");
    EXPECT_EQ(read(), DWORD{ERROR_IO_PENDING});
    EXPECT_EQ(packet(), "0 109 0 77 1");
    EXPECT_EQ(done("GetQueuedCompletionStatus").fact("ov"), units::hex_of(&request));
}

TEST_F(OnPipe, AResultFailsOnlyAfterTheRealCall)
{
    feed("abc");
    EXPECT_NE(read(), DWORD{ERROR_INVALID_PARAMETER});
    probe::plan_injections("GetOverlappedResult 0 fail 38");
    EXPECT_EQ(result(), "38 0");
}

TEST_F(OnPipe, AResultThatIsNotThereYetDoesNotFail)
{
    ASSERT_EQ(read(), DWORD{ERROR_IO_PENDING});
    probe::plan_injections("GetOverlappedResult 1 fail 38");
    DWORD bytes = 0;
    EXPECT_FALSE(GetOverlappedResult(reader, &request, &bytes, FALSE));
    EXPECT_EQ(GetLastError(), DWORD{ERROR_IO_INCOMPLETE});
    EXPECT_EQ(done("GetOverlappedResult").fact("injected"), "");
    feed("abc");
    EXPECT_EQ(result(), "0 3");
}

TEST_F(OnPipe, AReadIsCutShort)
{
    feed("abc");
    probe::plan_injections("ReadFile 0 short 2");
    static_cast<void>(read());
    EXPECT_EQ(result(), "0 2");
}

TEST_F(OnPipe, AReadIsHeldUntilThereIsData)
{
    feed("abc");
    probe::plan_injections("ReadFile 0 hold-until-data");
    static_cast<void>(read());
    EXPECT_EQ(result(), "0 3");
    EXPECT_EQ(done("ReadFile").fact("injected"), "hold-until-data");
}

TEST_F(OnPipe, ManyPacketsAreNumbered)
{
    put_on_port();
    PostQueuedCompletionStatus(port, 5, 9, nullptr);
    OVERLAPPED_ENTRY entries[4]{};
    ULONG count = 0;
    EXPECT_TRUE(GetQueuedCompletionStatusEx(port, entries, 4, &count, 0, FALSE));
    const Entry call = done("GetQueuedCompletionStatusEx");
    EXPECT_EQ(call.fact("count"), "1");
    EXPECT_EQ(call.fact("key0") + call.fact("ov0") + call.fact("bytes0"), "905");
}

// ---------------------------------------------------------------- a regular file in skip mode

// On Wine its reads always pend and queue a packet, on Windows they may be done at once.
class OnFile : public units::Traced {
protected:
    void open(const char* text)
    {
        wchar_t folder[MAX_PATH];
        wchar_t path[MAX_PATH];
        GetTempPathW(MAX_PATH, folder);
        ASSERT_NE(GetTempFileNameW(folder, L"lab", 0, path), 0U);
        constexpr DWORD flags = FILE_FLAG_OVERLAPPED | FILE_FLAG_DELETE_ON_CLOSE;
        file = CreateFileW(path, GENERIC_READ | GENERIC_WRITE | DELETE, 0, nullptr, OPEN_EXISTING, flags, nullptr);
        ASSERT_NE(file, INVALID_HANDLE_VALUE);
        OVERLAPPED write{};
        DWORD written = 0;
        WriteFile(file, text, static_cast<DWORD>(std::strlen(text)), nullptr, &write);
        ASSERT_TRUE(GetOverlappedResult(file, &write, &written, TRUE));
        port = CreateIoCompletionPort(file, nullptr, 77, 0);
        ASSERT_TRUE(SetFileCompletionNotificationModes(file, FILE_SKIP_COMPLETION_PORT_ON_SUCCESS));
    }
    void TearDown() override
    {
        CloseHandle(file);
        CloseHandle(port);
        Traced::TearDown();
    }
    DWORD read(OVERLAPPED& request)
    {
        return ReadFile(file, buffer, sizeof buffer, nullptr, &request) ? 0 : GetLastError();
    }
    OVERLAPPED* packet() const
    {
        DWORD bytes = 0;
        ULONG_PTR key = 0;
        OVERLAPPED* brought = nullptr;
        GetQueuedCompletionStatus(port, &bytes, &key, &brought, 0);
        return brought;
    }

    HANDLE file = nullptr;
    HANDLE port = nullptr;
    char buffer[64]{};
};

TEST_F(OnFile, AnyNumberOfReadsMayBeDoneAtOnceBeforeSomebodyDequeues)
{
    open("abc");
    probe::plan_injections("ReadFile 0 complete");
    OVERLAPPED requests[200]{};
    for (OVERLAPPED& request : requests)
        EXPECT_EQ(read(request), 0U);
    EXPECT_EQ(packet(), nullptr);
}

TEST_F(OnFile, AReadThatIsToBeDoneAtOnceAndFailsHasItsPacket)
{
    open("");
    probe::plan_injections("ReadFile 0 complete");
    OVERLAPPED request{};
    const DWORD error = read(request);
    EXPECT_TRUE(error == ERROR_IO_PENDING || error == ERROR_HANDLE_EOF) << error;
    EXPECT_EQ(packet(), error == ERROR_IO_PENDING ? &request : nullptr);
}

// ---------------------------------------------------------------- frames

PROBE_NOT_INLINED DWORD read_into_own_frame(HANDLE file, HANDLE event)
{
    char here[2000];
    OVERLAPPED request{};
    request.hEvent = event;
    const DWORD error = ReadFile(file, here, sizeof here, nullptr, &request) ? 0 : GetLastError();
    return error + static_cast<DWORD>(here[0] & 0);
}

PROBE_NOT_INLINED DWORD read_and_wait(HANDLE file, HANDLE event)
{
    char here[2000];
    OVERLAPPED request{};
    request.hEvent = event;
    const DWORD error = ReadFile(file, here, sizeof here, nullptr, &request) ? 0 : GetLastError();
    WaitForSingleObject(event, INFINITE);
    return error;
}

TEST_F(OnPipe, AFrameLeftWithARequestInItIsToldOnce)
{
    EXPECT_EQ(read_into_own_frame(reader, event), DWORD{ERROR_IO_PENDING});
    ResetEvent(event);
    ResetEvent(event);
    EXPECT_EQ(notes("frame-left").size(), 1U);
    EXPECT_EQ(notes("frame-left").at(0).fact("ov"), calls("ReadFile").at(0).fact("ov"));
    CancelIoEx(reader, nullptr);
    WaitForSingleObject(event, INFINITE);
}

TEST_F(OnPipe, AFrameLeftAfterTheWaitIsNotTold)
{
    feed("abc");
    static_cast<void>(read_and_wait(reader, event));
    ResetEvent(event);
    EXPECT_TRUE(notes("frame-left").empty());
}

// ---------------------------------------------------------------- codes

TEST(StatusOf, BringsTheCodeBack)
{
    const auto back = probe::find_function<ULONG(NTAPI*)(LONG)>("RtlNtStatusToDosError");
    for (const DWORD code : {5U, 23U, 38U, 64U, 87U, 109U, 995U, 1117U, 1236U, 1450U, 121U, 1231U})
        EXPECT_EQ(back(probe::status_of(code)), code);
}

} // namespace
