// Every form of operator new and delete. A graded program is linked with these instead of the C++ runtime's own.
#include "blocks.hpp"
#include "compiler.hpp"
#include "system.hpp"

#include <cstdint>
#include <cstring>
#include <new>

namespace {

using probe::Made;

constexpr std::size_t usual_alignment = __STDCPP_DEFAULT_NEW_ALIGNMENT__;

// Null when there is no memory, after asking the program's handler as the language wants it.
void* make(std::size_t size, std::size_t alignment, Made made, const void* from)
{
    const probe::KeepLastError keep;
    for (;;) {
        const std::size_t more = alignment > usual_alignment ? alignment : 0;
        void* const raw = probe::os().heap_alloc(GetProcessHeap(), 0, size + more);
        if (raw != nullptr) {
            auto address = reinterpret_cast<std::uintptr_t>(raw);
            if (more != 0)
                address = (address + alignment - 1) / alignment * alignment;
            void* const start = reinterpret_cast<void*>(address);
            std::memset(start, 0xCD, size); // what a program forgets to initialise is the same rubbish in every run
            probe::remember_block(start, size, made, from, raw);
            return start;
        }
        const std::new_handler handler = std::get_new_handler();
        if (handler == nullptr)
            return nullptr;
        handler();
    }
}

void* make_or_throw(std::size_t size, std::size_t alignment, Made made, const void* from)
{
    void* const start = make(size, alignment, made, from);
    if (start == nullptr)
        throw std::bad_alloc();
    return start;
}

void* make_or_null(std::size_t size, std::size_t alignment, Made made, const void* from) noexcept
{
    try {
        return make(size, alignment, made, from);
    } catch (const std::bad_alloc&) { // by the handler
        return nullptr;
    }
}

} // namespace

#define FROM PROBE_RETURN_ADDRESS

void* operator new(std::size_t size)
{
    return make_or_throw(size, 0, Made::by_new, FROM);
}
void* operator new[](std::size_t size)
{
    return make_or_throw(size, 0, Made::by_new_array, FROM);
}
void* operator new(std::size_t size, std::align_val_t alignment)
{
    return make_or_throw(size, static_cast<std::size_t>(alignment), Made::by_new, FROM);
}
void* operator new[](std::size_t size, std::align_val_t alignment)
{
    return make_or_throw(size, static_cast<std::size_t>(alignment), Made::by_new_array, FROM);
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept
{
    return make_or_null(size, 0, Made::by_new, FROM);
}
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept
{
    return make_or_null(size, 0, Made::by_new_array, FROM);
}
void* operator new(std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept
{
    return make_or_null(size, static_cast<std::size_t>(alignment), Made::by_new, FROM);
}
void* operator new[](std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept
{
    return make_or_null(size, static_cast<std::size_t>(alignment), Made::by_new_array, FROM);
}

#define DELETES(BRACKETS, HOW, MADE)                                                                                   \
    void operator delete BRACKETS(void* start) noexcept                                                                \
    {                                                                                                                  \
        probe::free_block(start, HOW, MADE, FROM);                                                                     \
    }                                                                                                                  \
    void operator delete BRACKETS(void* start, std::size_t) noexcept                                                   \
    {                                                                                                                  \
        probe::free_block(start, HOW, MADE, FROM);                                                                     \
    }                                                                                                                  \
    void operator delete BRACKETS(void* start, std::align_val_t) noexcept                                              \
    {                                                                                                                  \
        probe::free_block(start, HOW, MADE, FROM);                                                                     \
    }                                                                                                                  \
    void operator delete BRACKETS(void* start, std::size_t, std::align_val_t) noexcept                                 \
    {                                                                                                                  \
        probe::free_block(start, HOW, MADE, FROM);                                                                     \
    }                                                                                                                  \
    void operator delete BRACKETS(void* start, const std::nothrow_t&) noexcept                                         \
    {                                                                                                                  \
        probe::free_block(start, HOW, MADE, FROM);                                                                     \
    }                                                                                                                  \
    void operator delete BRACKETS(void* start, std::align_val_t, const std::nothrow_t&) noexcept                       \
    {                                                                                                                  \
        probe::free_block(start, HOW, MADE, FROM);                                                                     \
    }

// clang-format off
DELETES(, "delete", Made::by_new)
DELETES([], "delete[]", Made::by_new_array)
// clang-format on
