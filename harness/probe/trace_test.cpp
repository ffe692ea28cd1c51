// A line, and the imports of this executable.
#include "imports.hpp"
#include "trace.hpp"

#include <windows.h>

#include <gtest/gtest.h>

#include <string>

namespace {

using probe::Line;

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
    const std::string much(3000, 'x');
    line.text(much).text(much);
    EXPECT_EQ(line.view(), (much + much).substr(0, line.view().size()));
    EXPECT_LT(line.view().size(), 2 * much.size());
}

TEST(ReplaceImport, SaysWhetherTheExecutableImportsIt)
{
    EXPECT_TRUE(probe::replace_import(reinterpret_cast<const void*>(&GetTempPathW),
                                      reinterpret_cast<const void*>(&GetTempPathW)));
    EXPECT_FALSE(probe::replace_import(reinterpret_cast<const void*>(&probe::is_tracing), nullptr));
}

} // namespace
