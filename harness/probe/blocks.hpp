// blocks: every block of memory that the executable has, found by any address inside it.
//
// Blocks that a request referred to are never given back to the heap: they stay, filled with 0xDD, so that what the
// kernel still writes hurts nobody, and a second delete is told for what it is.
#pragma once

#include "trace.hpp"

#include <cstddef>
#include <cstdint>

namespace probe {

enum class Made : std::uint8_t { by_new, by_new_array, by_malloc, by_aligned_malloc, by_heap_alloc, by_virtual_alloc };

// Takes down a new block. `raw` is what the memory is given back by, where that is another address.
void remember_block(const void* start, std::size_t size, Made made, const void* from, void* raw = nullptr) noexcept;

struct Freed {
    enum What {
        unknown,     // no block of ours: somebody else made it
        give_back,   // forgotten: the caller hands it back, the way it was made
        kept,        // in quarantine: it stays where it is
        freed_again, // was in quarantine already
    } what;
    Made made;
    void* raw;
    std::size_t size;
};

// `how`: delete, delete[], free ... as the trace says it. Writes the notes that it calls for.
Freed forget_block(void* start, const char* how, Made fits, const void* from) noexcept;

// forget_block, and the memory goes back the way it came. A block that nobody made is left alone: freed twice.
void free_block(void* start, const char* how, Made fits, const void* from) noexcept;

// A heap that HeapAlloc has made blocks in is destroyed: each that is left counts as freed by that. True: some of its
// blocks are in quarantine, so that the heap has to stay.
bool forget_heap(const void* heap, const void* from) noexcept;

// Tells of each block in quarantine that somebody has written to since it was freed.
void tell_writes_after_free() noexcept;

// Tells of each place in the program whose blocks are still there in great number: memory that grows.
void tell_what_was_never_freed() noexcept;

// The size of a live block; 0 if it is none.
std::size_t block_size(const void* start) noexcept;

// Where an address lies, as the trace says it: heap:ID, stack:THREAD, static, other. A heap block counts as one that
// the kernel has seen from now on; the first time a note tells where it came from.
void tell_where(Line& line, const void* address) noexcept;

} // namespace probe
