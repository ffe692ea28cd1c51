// The probe's parts: a line, the trace file, an import that is replaced, a call that is recorded.
#include "call.hpp"

#include "lab.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace {

using probe::Hook;
using probe::Line;

// ---------------------------------------------------------------- a line

TEST(Line, WritesTextHexAndDecimal)
{
    Line line;
    line.text("call").field().hex(0xAB'CDEF).field().decimal(1234567890).field().hex(0).field().decimal(0);
    EXPECT_EQ(line.view(), "call\tabcdef\t1234567890\t0\t0");
}

TEST(Line, HoldsTheLargestNumbers)
{
    Line line;
    line.hex(~std::uint64_t{0}).field().decimal(~std::uint64_t{0});
    EXPECT_EQ(line.view(), "ffffffffffffffff\t18446744073709551615");
}

TEST(Line, IsCutWhereItsRoomEnds)
{
    Line line;
    const std::string much(1000, 'x');
    line.text(much).text(much);
    EXPECT_EQ(line.view(), much.substr(0, line.view().size()));
    EXPECT_LT(line.view().size(), much.size());
}

// ---------------------------------------------------------------- the trace and the hooks in it

// The one trace of this process, opened before the first test that needs it.
class Traced : public testing::Test {
protected:
    static void SetUpTestSuite()
    {
        wchar_t folder[MAX_PATH];
        ASSERT_NE(GetTempPathW(MAX_PATH, folder), 0U);
        path() = std::wstring(folder) + L"probe-" + std::to_wstring(GetCurrentProcessId()) + L".trace";
        SetEnvironmentVariableW(L"LAB_TRACE", path().c_str());
        probe::open_trace();
        ASSERT_TRUE(probe::is_tracing());
    }
    static void TearDownTestSuite() { DeleteFileW(path().c_str()); } // still mapped: gone with the process

    static std::wstring& path()
    {
        static std::wstring path;
        return path;
    }

    // The file as another process would find it now, line by line.
    static std::vector<std::string> lines()
    {
        const lab::File file{CreateFileW(path().c_str(), GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE, nullptr,
                                         OPEN_EXISTING, 0, nullptr)};
        std::uint64_t used = 0;
        DWORD bytes = 0;
        EXPECT_TRUE(ReadFile(file.get(), &used, sizeof used, &bytes, nullptr));
        std::string text(static_cast<std::size_t>(used), '\0');
        EXPECT_TRUE(ReadFile(file.get(), text.data(), static_cast<DWORD>(text.size()), &bytes, nullptr));
        std::vector<std::string> lines;
        for (std::size_t at = 0, end = 0; (end = text.find('\n', at)) != std::string::npos; at = end + 1)
            lines.push_back(text.substr(at, end - at));
        return lines;
    }

    static std::vector<std::string> fields(const std::string& line)
    {
        std::vector<std::string> fields;
        for (std::size_t at = 0, end = 0; end != std::string::npos; at = end + 1) {
            end = line.find('\t', at);
            fields.push_back(line.substr(at, end == std::string::npos ? end : end - at));
        }
        return fields;
    }
};

std::string hex(std::uint64_t number)
{
    return std::string(Line().hex(number).view());
}

// Each lets the executable call through its import: the compiler may not know that the function changed.
#if defined(_MSC_VER)
#define NOT_INLINED __declspec(noinline)
#else
#define NOT_INLINED [[gnu::noinline]]
#endif

NOT_INLINED HANDLE make_event()
{
    return CreateEventW(nullptr, TRUE, FALSE, nullptr);
}

NOT_INLINED BOOL close(HANDLE handle)
{
    return CloseHandle(handle) != FALSE; // a result still to be worked on: no tail call, which would have no caller
}

NOT_INLINED BOOL write_to(HANDLE file, const char* text, DWORD* written)
{
    return WriteFile(file, text, static_cast<DWORD>(std::strlen(text)), written, nullptr);
}

struct TellsWritten : probe::NothingMore {
    static void before(probe::Facts& facts, HANDLE, const void* buffer, auto...) noexcept
    {
        facts.behind("first", static_cast<const unsigned char*>(buffer));
    }
    static void after(probe::Facts& facts, BOOL, HANDLE, const void*, DWORD, DWORD* written, OVERLAPPED*) noexcept
    {
        facts.behind("written", written);
    }
};

using CloseHook = Hook<"CloseHandle", decltype(&CloseHandle)>;
using EventHook = Hook<"CreateEventW", decltype(&CreateEventW)>;
using WriteHook = Hook<"WriteFile", decltype(&WriteFile), TellsWritten>;

TEST_F(Traced, ACallIsRecordedWithArgumentsResultAndError)
{
    EventHook::install(&CreateEventW);
    const std::size_t before = lines().size();
    const HANDLE event = make_event();
    const std::vector<std::string> all = lines();
    ASSERT_EQ(all.size(), before + 2);
    const auto call = fields(all[before]);
    const auto done = fields(all[before + 1]);
    ASSERT_EQ(call.size(), 10U);
    EXPECT_EQ(call[0], "call");
    EXPECT_EQ(call[2], hex(GetCurrentThreadId()));
    EXPECT_EQ(call[5], "CreateEventW");
    EXPECT_EQ((std::vector<std::string>{call.begin() + 6, call.end()}), (std::vector<std::string>{"0", "1", "0", "0"}));
    ASSERT_GE(done.size(), 6U);
    EXPECT_EQ(done[0], "done");
    EXPECT_EQ(done[1], call[1]) << "the sequence number joins the two";
    EXPECT_EQ(done[4], hex(probe::as_number(event)));
    EXPECT_TRUE(CloseHook::real == nullptr || CloseHook::real(event));
}

TEST_F(Traced, TheErrorComesThroughAndIsRecorded)
{
    CloseHook::install(&CloseHandle);
    SetLastError(ERROR_SUCCESS);
    EXPECT_FALSE(close(reinterpret_cast<HANDLE>(0x666)));
    EXPECT_EQ(GetLastError(), DWORD{ERROR_INVALID_HANDLE}) << "what the program sees is what the call has left";
    const auto done = fields(lines().back());
    EXPECT_EQ(done[4], "0");
    EXPECT_EQ(done[5], "6");
}

TEST_F(Traced, ACallKnowsWhoCalledIt)
{
    CloseHook::install(&CloseHandle);
    close(reinterpret_cast<HANDLE>(0x666));
    const std::vector<std::string> all = lines();
    const std::uint64_t caller = std::stoull(fields(all[all.size() - 2])[4], nullptr, 16);
    const auto function = probe::as_number(&close);
    EXPECT_TRUE(caller > function && caller < function + 256) << "the return address lies in the caller";
}

TEST_F(Traced, FactsStandWhereTheyAreKnown)
{
    WriteHook::install(&WriteFile);
    const lab::File nul{CreateFileW(L"NUL", GENERIC_WRITE, 0, nullptr, OPEN_EXISTING, 0, nullptr)};
    DWORD written = 0;
    EXPECT_TRUE(write_to(nul.get(), "abc", &written));
    const std::vector<std::string> all = lines();
    EXPECT_EQ(fields(all[all.size() - 2]).back(), "first=61");
    EXPECT_EQ(fields(all.back()).back(), "written=3");
}

TEST(ReplaceImport, SaysWhetherTheExecutableImportsIt)
{
    EXPECT_TRUE(probe::replace_import(reinterpret_cast<const void*>(&GetTempPathW),
                                      reinterpret_cast<const void*>(&GetTempPathW)));
    EXPECT_FALSE(probe::replace_import(reinterpret_cast<const void*>(&probe::is_tracing), nullptr));
}

} // namespace
