// Taking packets, and the end of several workers on one port.
#include "workers.hpp"

#include "connected_pipe.hpp"

#include <gtest/gtest.h>

namespace {

class OnPort : public testing::Test {
protected:
    void post(OVERLAPPED* request)
    {
        if (!PostQueuedCompletionStatus(port.get(), 0, 0, request))
            units::give_up("PostQueuedCompletionStatus");
    }

    lab::Port port{CreateIoCompletionPort(INVALID_HANDLE_VALUE, nullptr, 0, 0)};
};

TEST_F(OnPort, ManyPacketsAreTakenWithOneCall)
{
    OVERLAPPED requests[64]{};
    for (OVERLAPPED& request : requests)
        post(&request);
    Inbox inbox(port.get());
    const auto packets = inbox.take(INFINITE);
    ASSERT_EQ(packets.size(), std::size(requests));
    for (std::size_t i = 0; i < packets.size(); ++i)
        EXPECT_EQ(packets[i].lpOverlapped, &requests[i]) << "first in, first out";
}

TEST_F(OnPort, WhatThereIsNoRoomForIsLeftForTheNextCall)
{
    OVERLAPPED requests[65]{};
    for (OVERLAPPED& request : requests)
        post(&request);
    Inbox inbox(port.get());
    EXPECT_EQ(inbox.take(INFINITE).size(), 64U);
    EXPECT_EQ(inbox.take(INFINITE).size(), 1U);
}

TEST_F(OnPort, NothingThereIsNoFailure)
{
    units::Captured errors(STD_ERROR_HANDLE);
    EXPECT_TRUE(Inbox(port.get()).take(0).empty());
    EXPECT_EQ(errors.rest(), units::Lines{});
}

TEST_F(OnPort, AFailureIsReportedAndBringsNoPacket)
{
    units::Captured errors(STD_ERROR_HANDLE);
    EXPECT_TRUE(Inbox(nullptr).take(0).empty());
    const auto lines = errors.rest();
    ASSERT_EQ(lines.size(), 1U);
    EXPECT_TRUE(lines.front().starts_with("error : GetQueuedCompletionStatusEx : 6 : ")) << lines.front();
}

TEST_F(OnPort, OneStopEndsEveryWorker)
{
    std::atomic<int> ended = 0;
    Workers workers(port.get());
    workers.start(5, [&] {
        Inbox inbox(port.get());
        while (inbox.take(INFINITE).front().lpOverlapped != nullptr)
            continue;
        ++ended;
        workers.hand_stop_on();
    });
    workers.post_stop();
    workers.join();
    EXPECT_EQ(ended, 5);
    EXPECT_TRUE(Inbox(port.get()).take(0).empty()) << "the last one hands it on to nobody";
}

TEST_F(OnPort, AStopForNoWorkersIsNotPosted)
{
    Workers(port.get()).post_stop();
    EXPECT_TRUE(Inbox(port.get()).take(0).empty());
}

} // namespace
