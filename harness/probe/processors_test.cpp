#include "processors.hpp"

#include <gtest/gtest.h>

#include <string>

namespace {

TEST(Processors, AreAsManyAsTheEnvironmentSays)
{
    SetEnvironmentVariableW(L"LAB_PROCESSORS", nullptr);
    probe::install_processors();
    const DWORD real = probe::processors();
    EXPECT_GT(real, 0U);
    SetEnvironmentVariableW(L"LAB_PROCESSORS", std::to_wstring(real + 3).c_str());
    probe::install_processors();
    SYSTEM_INFO info{};
    GetSystemInfo(&info);
    EXPECT_EQ(info.dwNumberOfProcessors, real + 3);
    EXPECT_EQ(probe::processors(), real + 3);
    SetEnvironmentVariableW(L"LAB_PROCESSORS", nullptr);
}

} // namespace
