// The plan of what happens to which call.
#include "injection.hpp"

#include <gtest/gtest.h>

namespace {

using probe::Action;

class Plan : public testing::Test {
protected:
    void TearDown() override { probe::plan_injections(""); }
    probe::Counter reads{"ReadFile"};
    probe::Counter waits{"WaitForSingleObject"};
};

TEST_F(Plan, NamesOneOccurrence)
{
    probe::plan_injections("ReadFile 2 fail 87");
    EXPECT_EQ(probe::begin_counted(reads).action, Action::none);
    EXPECT_EQ(probe::begin_counted(waits).action, Action::none);
    const probe::Injection second = probe::begin_counted(reads);
    EXPECT_EQ(second.action, Action::fail);
    EXPECT_EQ(second.number, 87U);
    EXPECT_EQ(second.word(), "fail");
    EXPECT_EQ(probe::begin_counted(reads).action, Action::none);
}

TEST_F(Plan, NamesEveryOccurrenceByZero)
{
    probe::plan_injections("ReadFile 0 pend");
    EXPECT_EQ(probe::begin_counted(reads).action, Action::pend);
    EXPECT_EQ(probe::begin_counted(reads).action, Action::pend);
}

TEST_F(Plan, HoldsSeveralItems)
{
    probe::plan_injections(
        "ReadFile 1 short 10; WaitForSingleObject 1 hold ReadFile 2 ;ReadFile 2 fail-completion 38;");
    EXPECT_EQ(probe::begin_counted(reads).number, 10U);
    EXPECT_EQ(probe::begin_counted(reads).action, Action::fail_completion);
    const probe::Injection hold = probe::begin_counted(waits);
    EXPECT_EQ(hold.action, Action::hold);
    EXPECT_EQ(hold.name, "ReadFile");
    EXPECT_EQ(hold.number, 2U);
}

TEST_F(Plan, LeavesOutWhatItDoesNotUnderstand)
{
    probe::plan_injections("ReadFile; ReadFile x fail 1; ReadFile 0 explode; ReadFile 0 fail; ReadFile 1 complete");
    EXPECT_EQ(probe::begin_counted(reads).action, Action::complete);
    EXPECT_EQ(probe::begin_counted(reads).action, Action::none);
}

} // namespace
