// processors: how many the program is told that there are. LAB_PROCESSORS says it, so that a program which should follow
// their number can be seen to do so, or not to, on any machine.
#pragma once

#include <windows.h>

namespace probe {

// As the program is told.
DWORD processors() noexcept;

// Answers the program's questions for their number, if LAB_PROCESSORS is set.
void install_processors() noexcept;

} // namespace probe
