// compiler: the few things that g++ and MSVC call by different names.
#pragma once

#if defined(_MSC_VER)
#include <intrin.h>
// Who called the function this stands in, and where that caller's own stack ends: everything below is no longer its.
#define PROBE_RETURN_ADDRESS _ReturnAddress()
#define PROBE_CALLER_STACK (static_cast<char*>(_AddressOfReturnAddress()) + sizeof(void*))
#define PROBE_NOT_INLINED __declspec(noinline)
#else
#define PROBE_RETURN_ADDRESS __builtin_return_address(0)
#define PROBE_CALLER_STACK static_cast<char*>(__builtin_dwarf_cfa())
#define PROBE_NOT_INLINED [[gnu::noinline]]
#endif
