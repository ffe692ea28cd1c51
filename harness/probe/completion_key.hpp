// Included by the compiler before a graded program: lets g++ see a completion key that is too small (F10, N4).
//
// GetQueuedCompletionStatus writes eight bytes through its third argument. A program that casts a DWORD* to get past the
// compiler has the four bytes behind it overwritten; told that the argument is written to, g++ says so. Declared here
// without windows.h, so that the program's own includes come in its own order.
#pragma once

#if defined(__GNUC__) && !defined(__clang__)
struct _OVERLAPPED;
extern "C" __declspec(dllimport) int __stdcall GetQueuedCompletionStatus(void* port, unsigned long* bytes,
                                                                         unsigned long long* key, _OVERLAPPED** request,
                                                                         unsigned long timeout)
    __attribute__((access(write_only, 3)));
#endif
