// unwanted_packets: packets that the program must not see. A request may be made to be done at once although the kernel
// lets it pend; on a file that sends no packet for what is done at once, the one that comes all the same is not delivered.
#pragma once

#include <windows.h>

namespace probe {

// From now on until is_unwanted was told so once. Any number of them, of one request too.
void expect_unwanted_packet(const OVERLAPPED* request) noexcept;

// True once for each expected packet of the request. To be asked only of packets that tell of a success: a failure has
// its packet in every mode.
bool is_unwanted(const OVERLAPPED* request) noexcept;

} // namespace probe
