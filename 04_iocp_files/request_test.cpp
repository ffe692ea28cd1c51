// Which blocks there are to read, and how they are given out.
#include "request.hpp"

#include <gtest/gtest.h>

namespace {

TEST(Blocks, AreGivenOutOnceInOrderAndNeverOfTwoFilesTogether)
{
    Blocks blocks({{nullptr, 100, 3}, {nullptr, 200, 0}, {nullptr, 300, 2}});
    EXPECT_EQ(blocks.total(), 5U);
    const auto first = blocks.next(2);
    EXPECT_EQ(first.source->key, 100U);
    EXPECT_EQ(first.first_block, 0U);
    EXPECT_EQ(first.first_id, 1U);
    EXPECT_EQ(first.blocks, 2U);
    const auto second = blocks.next(2);
    EXPECT_EQ(second.source->key, 100U);
    EXPECT_EQ(second.first_block, 2U);
    EXPECT_EQ(second.first_id, 3U);
    EXPECT_EQ(second.blocks, 1U);
    const auto third = blocks.next(2);
    EXPECT_EQ(third.source->key, 300U) << "a file without blocks is passed over";
    EXPECT_EQ(third.first_block, 0U);
    EXPECT_EQ(third.first_id, 4U);
    EXPECT_EQ(third.blocks, 2U);
    EXPECT_EQ(blocks.next(2).blocks, 0U);
    EXPECT_EQ(blocks.next(2).blocks, 0U);
}

} // namespace
