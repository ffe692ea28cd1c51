// Received bytes as one line: what stays as it is, what is escaped, and that nothing else can come out.
#include "escape.hpp"

#include <gtest/gtest.h>

namespace {

using namespace std::string_literals;

TEST(Escape, LeavesPrintableAsciiAlone)
{
    EXPECT_EQ(escape(""), "");
    EXPECT_EQ(escape("hello, world 0~"), "hello, world 0~");
}

TEST(Escape, NamesLineEndsAndTabs)
{
    EXPECT_EQ(escape("a\nb\r\nc\td"), R"(a\nb\r\nc\td)");
}

TEST(Escape, DoublesABackslashSoThatNothingIsReadBackWrongly)
{
    EXPECT_EQ(escape(R"(\)"), R"(\\)");
    EXPECT_EQ(escape(R"(a\n)"), R"(a\\n)");
}

TEST(Escape, ShowsOtherControlBytesInHex)
{
    EXPECT_EQ(escape("\0"s), R"(\x00)");
    EXPECT_EQ(escape("a\0b"s), R"(a\x00b)");
    EXPECT_EQ(escape("\x01\x1B[2J\x1F"), R"(\x01\x1b[2J\x1f)");
    EXPECT_EQ(escape("\x7F"), R"(\x7f)");
}

TEST(Escape, LeavesWellFormedUtf8Alone)
{
    EXPECT_EQ(escape("한글과 English"), "한글과 English");
    EXPECT_EQ(escape("\xC2\xA0 \xDF\xBF"), "\xC2\xA0 \xDF\xBF");                                           // two bytes
    EXPECT_EQ(escape("\xE0\xA0\x80 \xED\x9F\xBF \xEE\x80\x80"), "\xE0\xA0\x80 \xED\x9F\xBF \xEE\x80\x80"); // three
    EXPECT_EQ(escape("\xF0\x90\x80\x80 \xF4\x8F\xBF\xBF"), "\xF0\x90\x80\x80 \xF4\x8F\xBF\xBF");           // four
}

TEST(Escape, ShowsATruncatedCharacterByteByByte)
{
    EXPECT_EQ(escape("\xC3"), R"(\xc3)");
    EXPECT_EQ(escape("\xED\x95"), R"(\xed\x95)");
    EXPECT_EQ(escape("\xF0\x9F\x98"), R"(\xf0\x9f\x98)");
    EXPECT_EQ(escape("\xED\x95!"), R"(\xed\x95!)") << "what follows is not swallowed";
    EXPECT_EQ(escape("\xED\x95한"), R"(\xed\x95한)");
}

TEST(Escape, ShowsAContinuationByteThatContinuesNothing)
{
    EXPECT_EQ(escape("a\x80z"), R"(a\x80z)");
    EXPECT_EQ(escape("\xBF"), R"(\xbf)");
}

TEST(Escape, ShowsOverlongForms)
{
    EXPECT_EQ(escape("\xC0\x8A"), R"(\xc0\x8a)");                 // a line end in two bytes
    EXPECT_EQ(escape("\xC1\xBF"), R"(\xc1\xbf)");                 // DEL in two bytes
    EXPECT_EQ(escape("\xE0\x80\x8A"), R"(\xe0\x80\x8a)");         // a line end in three bytes
    EXPECT_EQ(escape("\xE0\x9F\xBF"), R"(\xe0\x9f\xbf)");         // U+07FF in three
    EXPECT_EQ(escape("\xF0\x8F\xBF\xBF"), R"(\xf0\x8f\xbf\xbf)"); // U+FFFF in four
}

TEST(Escape, ShowsSurrogates)
{
    EXPECT_EQ(escape("\xED\xA0\x80"), R"(\xed\xa0\x80)"); // U+D800
    EXPECT_EQ(escape("\xED\xBF\xBF"), R"(\xed\xbf\xbf)"); // U+DFFF
}

TEST(Escape, ShowsWhatLiesAboveTheLastCharacter)
{
    EXPECT_EQ(escape("\xF4\x90\x80\x80"), R"(\xf4\x90\x80\x80)"); // U+110000
    EXPECT_EQ(escape("\xF5\x80\x80\x80"), R"(\xf5\x80\x80\x80)");
    EXPECT_EQ(escape("\xFE\xFF"), R"(\xfe\xff)");
}

bool is_one_clean_line(std::string_view line)
{
    while (!line.empty()) {
        const std::size_t length = utf8_character(line);
        const auto byte = static_cast<unsigned char>(line.front());
        const bool c1 = length == 2 && line.substr(0, 2) < "\xC2\xA0";
        if (length == 0 || byte < 0x20 || byte == 0x7F || c1)
            return false;
        line.remove_prefix(length);
    }
    return true;
}

TEST(Escape, ShowsAC1ControlCharacterAsItsBytes)
{
    EXPECT_EQ(escape("\xC2\x85"), R"(\xc2\x85)") << "the next line, to some";
    EXPECT_EQ(escape("\xC2\x9B"), R"(\xc2\x9b)") << "the start of a command, to some terminals";
    EXPECT_EQ(escape("\xC2\xA0"), "\xC2\xA0") << "a space that does not break is none";
}

TEST(Escape, NeverLetsAControlCharacterOrBrokenUtf8Through)
{
    for (int first = 0; first < 256; ++first)
        for (int second = 0; second < 256; ++second) {
            const std::string received{static_cast<char>(first), static_cast<char>(second), '\x80', '\n'};
            ASSERT_TRUE(is_one_clean_line(escape(received))) << first << ", " << second << " : " << escape(received);
        }
}

TEST(Utf8Character, CountsTheBytesOfTheFirstCharacter)
{
    EXPECT_EQ(utf8_character(""), 0U);
    EXPECT_EQ(utf8_character("\0"s), 1U);
    EXPECT_EQ(utf8_character("az"), 1U);
    EXPECT_EQ(utf8_character("\xC3\xA9z"), 2U);
    EXPECT_EQ(utf8_character("한글"), 3U);
    EXPECT_EQ(utf8_character("\xF0\x9F\x98\x80z"), 4U);
    EXPECT_EQ(utf8_character("\x80"), 0U);
}

} // namespace
