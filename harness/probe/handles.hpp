// handles: closed handles whose slot is kept taken. Windows would give the same value to the next object, and a handle
// used after it was closed would hit a stranger, or blame one.
#pragma once

#include <windows.h>

namespace probe {

// To be called right after `handle` was closed: puts an object of our own in its place, if it can be had.
void keep_closed(HANDLE handle) noexcept;

bool is_kept_closed(HANDLE handle) noexcept;

// Writes the note for a call that was given such a handle.
void tell_closed(HANDLE handle, const char* call) noexcept;

} // namespace probe
