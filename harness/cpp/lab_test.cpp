// The shared header: text, numbers, errors, owners, the command line.
#include "lab.hpp"

#include "connected_pipe.hpp"

#include <gtest/gtest.h>

namespace {

using units::Captured;
using units::Lines;

// ---------------------------------------------------------------- owners, which everything below relies on

HANDLE new_event()
{
    const HANDLE event = CreateEventW(nullptr, TRUE, FALSE, nullptr);
    EXPECT_NE(event, nullptr);
    return event;
}

TEST(Owner, ClosesItsHandleWhenItGoes)
{
    const HANDLE handle = new_event();
    {
        const lab::Event owner{handle};
        EXPECT_EQ(owner.get(), handle);
        EXPECT_TRUE(units::is_open(handle));
    }
    EXPECT_FALSE(units::is_open(handle));
}

TEST(Owner, KnowsWhichValueMeansNone)
{
    EXPECT_FALSE(lab::File{});
    EXPECT_FALSE(lab::File{INVALID_HANDLE_VALUE});
    EXPECT_FALSE(lab::Event{});
    EXPECT_FALSE(lab::Event{nullptr});
    EXPECT_TRUE(lab::Event{new_event()});
}

TEST(Owner, MovesItsHandleAndNoLongerClosesIt)
{
    const HANDLE handle = new_event();
    {
        lab::Event target;
        {
            lab::Event source{handle};
            lab::Event moved{std::move(source)};
            EXPECT_FALSE(source); // NOLINT: what is left of it is the point
            EXPECT_EQ(moved.get(), handle);
            target = std::move(moved);
        }
        EXPECT_TRUE(units::is_open(handle)) << "closed by an owner that had given it away";
        EXPECT_EQ(target.get(), handle);
    }
    EXPECT_FALSE(units::is_open(handle));
}

TEST(Owner, ClosesWhatItHeldBeforeAnAssignment)
{
    const HANDLE before = new_event();
    const HANDLE after = new_event();
    lab::Event owner{before};
    owner = lab::Event{after};
    EXPECT_FALSE(units::is_open(before));
    EXPECT_TRUE(units::is_open(after));
    EXPECT_EQ(owner.get(), after);
}

// ---------------------------------------------------------------- text

TEST(ToUtf8, KeepsEnglishAndKorean)
{
    EXPECT_EQ(lab::to_utf8(L""), "");
    EXPECT_EQ(lab::to_utf8(L"hello"), "hello");
    EXPECT_EQ(lab::to_utf8(L"파일을 찾을 수 없습니다"), "파일을 찾을 수 없습니다");
}

TEST(ToUtf8, MakesOneCharacterOfASurrogatePair)
{
    EXPECT_EQ(lab::to_utf8(L"\xD83D\xDE00"), "\xF0\x9F\x98\x80");
}

TEST(ToUtf8, ShowsThatALoneSurrogateWasThere)
{
    EXPECT_EQ(lab::to_utf8(L"a\xD800z"), "a\xEF\xBF\xBDz");
    EXPECT_EQ(lab::to_utf8(L"a\xDC00z"), "a\xEF\xBF\xBDz");
}

std::string hex_of(std::string_view bytes)
{
    return lab::hex(std::as_bytes(std::span(bytes)));
}

TEST(Hex, ShowsEveryByteUpToEight)
{
    EXPECT_EQ(hex_of(""), "");
    EXPECT_EQ(hex_of("\x01\xAB\x7F"), "01 ab 7f");
    EXPECT_EQ(hex_of("12345678"), "31 32 33 34 35 36 37 38");
}

TEST(Hex, StopsAfterEightBytes)
{
    EXPECT_EQ(hex_of("123456789"), "31 32 33 34 35 36 37 38");
}

template <typename... Parts>
std::string line_of(const Parts&... parts)
{
    std::string line;
    (lab::append(line, parts), ...);
    return line;
}

TEST(Append, PrintsTheSmallestAndLargestNumberOfEveryWidth)
{
    EXPECT_EQ(line_of(std::int16_t{-32768}, " ", std::uint16_t{65535}), "-32768 65535");
    EXPECT_EQ(line_of(std::numeric_limits<std::int32_t>::min(), " ", std::numeric_limits<std::uint32_t>::max()),
              "-2147483648 4294967295");
    EXPECT_EQ(line_of(std::numeric_limits<std::int64_t>::min(), " ", std::numeric_limits<std::uint64_t>::max()),
              "-9223372036854775808 18446744073709551615");
    EXPECT_EQ(line_of(DWORD{0}, " ", ULONG_PTR{0x1'0000'0064}, " ", -1), "0 4294967396 -1");
}

TEST(Append, ReadsAnAtomicNumber)
{
    EXPECT_EQ(line_of(std::atomic<std::uint64_t>{1ULL << 40}, "|", std::atomic<int>{-7}), "1099511627776|-7");
}

TEST(Append, TakesTextOfEveryKind)
{
    EXPECT_EQ(line_of("literal, ", std::string("string, "), std::string_view("view, "), "한글"),
              "literal, string, view, 한글");
}

// ---------------------------------------------------------------- lines

TEST(PrintLine, EndsEachLine)
{
    Captured output(STD_OUTPUT_HANDLE);
    lab::print_line("bytes : ", DWORD{4096});
    lab::print_line("수신된 data : ", "hello");
    lab::print_line();
    EXPECT_EQ(output.rest(), (Lines{"bytes : 4096", "수신된 data : hello", ""}));
}

TEST(PrintLine, RemembersALineThatCouldNotBeWritten)
{
    lab::something_failed = false;
    const HANDLE before = GetStdHandle(STD_OUTPUT_HANDLE);
    SetStdHandle(STD_OUTPUT_HANDLE, units::manual_reset_event().get()); // closed already: nothing takes a line
    lab::print_line("lost");
    SetStdHandle(STD_OUTPUT_HANDLE, before);
    EXPECT_EQ(lab::exit_code(), 1);
}

TEST(Utf8Console, LeavesTheConsoleAsItWas)
{
    const UINT before = GetConsoleOutputCP();
    if (before == 0)
        GTEST_SKIP() << "there is no console";
    {
        const lab::Utf8Console console;
        EXPECT_EQ(GetConsoleOutputCP(), UINT{CP_UTF8});
    }
    EXPECT_EQ(GetConsoleOutputCP(), before);
}

// ---------------------------------------------------------------- errors

TEST(SystemText, IsOneLine)
{
    for (DWORD code = 0; code < 16'000; ++code) {
        const std::string text = lab::system_text(code);
        ASSERT_FALSE(text.empty()) << code;
        EXPECT_EQ(text.find_first_of("\r\n"), std::string::npos) << code << " : " << text;
        EXPECT_NE(text.back(), ' ') << code << " : " << text;
    }
}

TEST(SystemText, TellsCodesApart)
{
    EXPECT_NE(lab::system_text(ERROR_ACCESS_DENIED), lab::system_text(ERROR_SUCCESS));
    EXPECT_NE(lab::system_text(ERROR_HANDLE_EOF), lab::system_text(ERROR_BROKEN_PIPE));
}

TEST(SystemText, SaysSoWhenWindowsHasNone)
{
    EXPECT_EQ(lab::system_text(0x2000'0001), "no text for this code"); // bit 29: never one of the system's own
}

TEST(Report, NamesCallCodeAndTextOnStderr)
{
    Captured errors(STD_ERROR_HANDLE);
    lab::report("CreateFile", ERROR_FILE_NOT_FOUND);
    lab::report(lab::Win32Error{"ReadFile", ERROR_BROKEN_PIPE});
    EXPECT_EQ(errors.rest(), (Lines{"error : CreateFile : 2 : " + lab::system_text(2),
                                    "error : ReadFile : 109 : " + lab::system_text(109)}));
}

TEST(Report, CanNeverEndInExitCodeZero)
{
    lab::something_failed = false;
    EXPECT_EQ(lab::exit_code(), 0);
    Captured errors(STD_ERROR_HANDLE);
    lab::report("CreateFile", ERROR_FILE_NOT_FOUND);
    EXPECT_EQ(lab::exit_code(), 1);
}

TEST(EndProcessDeathTest, ReportsAndLeavesWithOne)
{
    EXPECT_EXIT(lab::end_process("GetQueuedCompletionStatus", ERROR_INVALID_HANDLE), testing::ExitedWithCode(1),
                "error : GetQueuedCompletionStatus : 6 : ");
}

// ---------------------------------------------------------------- threads

DWORD WINAPI wait_then_count(void* argument)
{
    auto& [go, count] = *static_cast<std::pair<HANDLE, int>*>(argument);
    WaitForSingleObject(go, INFINITE);
    for (int i = 0; i < 1000; ++i)
        ++count;
    return 0;
}

TEST(Join, ReturnsWhenTheThreadHasEnded)
{
    const lab::Event go = units::manual_reset_event();
    std::pair<HANDLE, int> shared{go.get(), 0};
    const lab::Thread thread{CreateThread(nullptr, 0, wait_then_count, &shared, 0, nullptr)};
    ASSERT_TRUE(thread);
    SetEvent(go.get());
    lab::join(thread);
    EXPECT_EQ(shared.second, 1000);
    EXPECT_TRUE(units::is_set(thread.get())) << "the thread still runs";
}

TEST(JoinDeathTest, EndsTheProcessWhenItCannotWait)
{
    EXPECT_EXIT(lab::join(lab::Thread{}), testing::ExitedWithCode(1),
                "error : WaitForSingleObject : 6 : .*\n.*error : WaitForSingleObject : 6 : ");
}

// ---------------------------------------------------------------- the command line

TEST(ParseNumber, TakesDecimalNumbersThatFit)
{
    EXPECT_EQ(lab::parse_number(L"0"), 0U);
    EXPECT_EQ(lab::parse_number(L"007"), 7U);
    EXPECT_EQ(lab::parse_number(L"18446744073709551615"), std::numeric_limits<std::uint64_t>::max());
    EXPECT_EQ(lab::parse_number<DWORD>(L"4294967295"), INFINITE);
    EXPECT_EQ(lab::parse_number<std::uint16_t>(L"65535"), std::uint16_t{65535});
}

TEST(ParseNumber, RefusesWhatDoesNotFit)
{
    EXPECT_EQ(lab::parse_number(L"18446744073709551616"), std::nullopt);
    EXPECT_EQ(lab::parse_number<DWORD>(L"4294967296"), std::nullopt);
    EXPECT_EQ(lab::parse_number<std::uint16_t>(L"65536"), std::nullopt);
    EXPECT_EQ(lab::parse_number(L"256", std::uint64_t{256}), 256U);
    EXPECT_EQ(lab::parse_number(L"257", std::uint64_t{256}), std::nullopt);
}

TEST(ParseNumber, RefusesWhatIsNoNumber)
{
    for (const std::wstring_view text :
         {L"", L"-1", L"+1", L" 1", L"1 ", L"0x10", L"1.0", L"1e3", L"ten", L"１", L"일"})
        EXPECT_EQ(lab::parse_number(text), std::nullopt) << '"' << lab::to_utf8(text) << '"';
}

std::optional<lab::ReadArguments> parse(std::vector<const wchar_t*> words)
{
    words.insert(words.begin(), L"program.exe");
    return lab::parse_read_arguments("program", static_cast<int>(words.size()), words.data());
}

TEST(ParseReadArguments, ReadsPathOffsetAndTimeout)
{
    const auto arguments = parse({L"한글.txt", L"4294967296", L"0"});
    ASSERT_TRUE(arguments);
    EXPECT_EQ(arguments->path, L"한글.txt");
    EXPECT_EQ(arguments->offset, 4294967296U);
    EXPECT_EQ(arguments->timeout_ms, 0U);
}

TEST(ParseReadArguments, FillsInWhatIsLeftOut)
{
    const auto arguments = parse({});
    ASSERT_TRUE(arguments);
    EXPECT_EQ(arguments->path, lab::system_file(L"kernel32.dll"));
    EXPECT_EQ(arguments->offset, 0U);
    EXPECT_EQ(arguments->timeout_ms, 10'000U);
}

TEST(ParseReadArguments, ShowsTheUsageForAnythingElse)
{
    Captured errors(STD_ERROR_HANDLE);
    EXPECT_FALSE(parse({L"file", L"far"}));
    EXPECT_FALSE(parse({L"file", L"0", L"-1"}));
    EXPECT_FALSE(parse({L"file", L"0", L"0", L"more"}));
    const std::string usage = "usage : program [PATH [OFFSET [TIMEOUT_MS]]]";
    EXPECT_EQ(errors.rest(), (Lines{usage, usage, usage}));
}

TEST(SystemFile, IsThere)
{
    EXPECT_NE(GetFileAttributesW(lab::system_file(L"kernel32.dll").c_str()), INVALID_FILE_ATTRIBUTES);
}

} // namespace
