// memory: what the executable gets from the C runtime and from Windows, and how any block goes back.
#pragma once

namespace probe {

// Sends malloc, free, HeapAlloc, VirtualAlloc and their kin through the list of blocks. They are not recorded as calls.
void install_memory() noexcept;

} // namespace probe
