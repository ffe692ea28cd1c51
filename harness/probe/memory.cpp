#include "memory.hpp"

#include "blocks.hpp"
#include "compiler.hpp"
#include "imports.hpp"
#include "system.hpp"

#include <algorithm>
#include <cstring>

namespace probe {

namespace {

void*(__cdecl* real_malloc)(std::size_t) = nullptr;
void*(__cdecl* real_calloc)(std::size_t, std::size_t) = nullptr;
void*(__cdecl* real_realloc)(void*, std::size_t) = nullptr;
void(__cdecl* real_free)(void*) = nullptr;
void*(__cdecl* real_aligned_malloc)(std::size_t, std::size_t) = nullptr;
void(__cdecl* real_aligned_free)(void*) = nullptr;
decltype(&::HeapAlloc) real_heap_alloc = nullptr;
decltype(&::HeapReAlloc) real_heap_realloc = nullptr;
decltype(&::HeapFree) real_heap_free = nullptr;
decltype(&::HeapDestroy) real_heap_destroy = nullptr;
decltype(&::VirtualAlloc) real_virtual_alloc = nullptr;
decltype(&::VirtualFree) real_virtual_free = nullptr;

void give_back(void* start, const Freed& block) noexcept
{
    switch (block.made) {
    case Made::by_new:
    case Made::by_new_array:
        os().heap_free(GetProcessHeap(), 0, block.raw);
        return;
    case Made::by_malloc:
        real_free(start);
        return;
    case Made::by_aligned_malloc:
        real_aligned_free(start);
        return;
    case Made::by_heap_alloc:
        real_heap_free(block.raw, 0, start); // raw: the heap it came from
        return;
    case Made::by_virtual_alloc:
        real_virtual_free(start, 0, MEM_RELEASE);
        return;
    }
}

void* __cdecl probed_malloc(std::size_t size)
{
    void* const start = real_malloc(size);
    remember_block(start, size, Made::by_malloc, PROBE_RETURN_ADDRESS);
    return start;
}

void* __cdecl probed_calloc(std::size_t count, std::size_t size)
{
    void* const start = real_calloc(count, size);
    remember_block(start, count * size, Made::by_malloc, PROBE_RETURN_ADDRESS);
    return start;
}

void __cdecl probed_free(void* start)
{
    const Freed block = forget_block(start, "free", Made::by_malloc, PROBE_RETURN_ADDRESS);
    if (block.what == Freed::unknown)
        real_free(start); // made by the C runtime itself
    else if (block.what == Freed::give_back)
        give_back(start, block);
}

// Always a move, so that a block the kernel knows stays where it was.
void* __cdecl probed_realloc(void* start, std::size_t size)
{
    const void* const from = PROBE_RETURN_ADDRESS;
    const std::size_t before = start != nullptr ? block_size(start) : 0;
    if (start != nullptr && (before == 0 || size == 0)) { // not ours, or nothing worth moving
        const Freed block = forget_block(start, "realloc", Made::by_malloc, from);
        if (block.what == Freed::kept || block.what == Freed::freed_again)
            return size == 0 ? nullptr : probed_malloc(size);
        void* const moved = real_realloc(start, size);
        remember_block(moved, size, Made::by_malloc, from);
        return moved;
    }
    void* const moved = real_malloc(size);
    if (moved == nullptr)
        return nullptr;
    remember_block(moved, size, Made::by_malloc, from);
    if (start != nullptr) {
        std::memcpy(moved, start, std::min(before, size));
        const Freed block = forget_block(start, "realloc", Made::by_malloc, from);
        if (block.what == Freed::give_back)
            give_back(start, block);
    }
    return moved;
}

void* __cdecl probed_aligned_malloc(std::size_t size, std::size_t alignment)
{
    void* const start = real_aligned_malloc(size, alignment);
    remember_block(start, size, Made::by_aligned_malloc, PROBE_RETURN_ADDRESS);
    return start;
}

void __cdecl probed_aligned_free(void* start)
{
    const Freed block = forget_block(start, "_aligned_free", Made::by_aligned_malloc, PROBE_RETURN_ADDRESS);
    if (block.what == Freed::unknown)
        real_aligned_free(start);
    else if (block.what == Freed::give_back)
        give_back(start, block);
}

void* WINAPI probed_heap_alloc(HANDLE heap, DWORD flags, SIZE_T size)
{
    void* const start = real_heap_alloc(heap, flags, size);
    remember_block(start, size, Made::by_heap_alloc, PROBE_RETURN_ADDRESS, heap);
    return start;
}

void* WINAPI probed_heap_realloc(HANDLE heap, DWORD flags, void* start, SIZE_T size)
{
    const void* const from = PROBE_RETURN_ADDRESS;
    const std::size_t before = block_size(start);
    if (before == 0 || (flags & HEAP_REALLOC_IN_PLACE_ONLY) != 0)
        return real_heap_realloc(heap, flags, start, size);
    void* const moved = real_heap_alloc(heap, flags, size);
    if (moved == nullptr)
        return nullptr;
    remember_block(moved, size, Made::by_heap_alloc, from, heap);
    std::memcpy(moved, start, std::min<std::size_t>(before, size));
    const Freed block = forget_block(start, "HeapReAlloc", Made::by_heap_alloc, from);
    if (block.what == Freed::give_back)
        give_back(start, block);
    return moved;
}

BOOL WINAPI probed_heap_free(HANDLE heap, DWORD flags, void* start)
{
    const Freed block = forget_block(start, "HeapFree", Made::by_heap_alloc, PROBE_RETURN_ADDRESS);
    if (block.what == Freed::unknown)
        return real_heap_free(heap, flags, start);
    if (block.what == Freed::give_back)
        give_back(start, block);
    return TRUE;
}

// All its blocks go with it. One that the kernel has seen is kept, as after a HeapFree, and then its heap is too.
BOOL WINAPI probed_heap_destroy(HANDLE heap)
{
    return forget_heap(heap, PROBE_RETURN_ADDRESS) ? TRUE : real_heap_destroy(heap);
}

void* WINAPI probed_virtual_alloc(void* wanted, SIZE_T size, DWORD type, DWORD protection)
{
    void* const start = real_virtual_alloc(wanted, size, type, protection);
    if (wanted == nullptr || (type & MEM_RESERVE) != 0) // not a commit inside a block that is known already
        remember_block(start, size, Made::by_virtual_alloc, PROBE_RETURN_ADDRESS);
    return start;
}

BOOL WINAPI probed_virtual_free(void* start, SIZE_T size, DWORD type)
{
    if ((type & MEM_RELEASE) == 0)
        return real_virtual_free(start, size, type);
    const Freed block = forget_block(start, "VirtualFree", Made::by_virtual_alloc, PROBE_RETURN_ADDRESS);
    if (block.what == Freed::kept || block.what == Freed::freed_again)
        return TRUE;
    return real_virtual_free(start, size, type);
}

template <typename Function>
void replace(const char* name, Function& real, Function replacement) noexcept
{
    if (real != nullptr)
        return;
    real = find_function<Function>(name);
    if (real != nullptr)
        replace_import(reinterpret_cast<const void*>(real), reinterpret_cast<const void*>(replacement));
}

} // namespace

void free_block(void* start, const char* how, Made fits, const void* from) noexcept
{
    if (start == nullptr)
        return;
    const KeepLastError keep;
    const Freed block = forget_block(start, how, fits, from);
    if (block.what == Freed::give_back) {
        give_back(start, block);
    } else if (block.what == Freed::unknown) { // operator delete frees nothing but our own: this was freed before
        Line line = begin_line("note", next_sequence());
        line.field().text("double-free").field().text("block=0");
        line.field().text("at=").hex(reinterpret_cast<std::uintptr_t>(from));
        write(line);
    }
}

void install_memory() noexcept
{
    replace("malloc", real_malloc, &probed_malloc);
    replace("calloc", real_calloc, &probed_calloc);
    replace("realloc", real_realloc, &probed_realloc);
    replace("free", real_free, &probed_free);
    replace("_aligned_malloc", real_aligned_malloc, &probed_aligned_malloc);
    replace("_aligned_free", real_aligned_free, &probed_aligned_free);
    replace("HeapAlloc", real_heap_alloc, &probed_heap_alloc);
    replace("HeapReAlloc", real_heap_realloc, &probed_heap_realloc);
    replace("HeapFree", real_heap_free, &probed_heap_free);
    replace("HeapDestroy", real_heap_destroy, &probed_heap_destroy);
    replace("VirtualAlloc", real_virtual_alloc, &probed_virtual_alloc);
    replace("VirtualFree", real_virtual_free, &probed_virtual_free);
}

} // namespace probe
