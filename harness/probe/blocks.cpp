#include "blocks.hpp"

#include "system.hpp"
#include "threads.hpp"

#include <algorithm>
#include <cstring>
#include <iterator>

namespace probe {

namespace {

struct Block {
    Block* next;
    std::uintptr_t start;
    std::size_t size;
    std::uint64_t id;
    const void* from;
    void* raw;
    Made made;
    bool seen;
    bool freed;
    bool filled; // with what nobody may change any more
};

// Blocks by the kibibyte they start in. An address inside is found by going back through that many kibibytes as the
// largest block of the kind has; the few large ones have a list of their own.
constexpr std::size_t granule = 1024;
constexpr std::size_t large = 64 * granule;
constexpr std::size_t buckets = 1 << 14;
constexpr std::size_t most_kept = std::size_t{256} << 20;
constexpr unsigned char filler = 0xDD;

constinit SRWLOCK lock = SRWLOCK_INIT;
constinit Pool<Block> pool{};
constinit Block* by_start[buckets]{};
constinit Block* large_ones = nullptr;
constinit std::uint64_t last_id = 0;
constinit std::size_t kept_bytes = 0;

Block*& chain_of(std::uintptr_t address, std::size_t size) noexcept
{
    return size >= large ? large_ones : by_start[address / granule % buckets];
}

Block** find_in(Block*& chain, std::uintptr_t start) noexcept
{
    for (Block** at = &chain; *at != nullptr; at = &(*at)->next)
        if ((*at)->start == start)
            return at;
    return nullptr;
}

Block** find_start(std::uintptr_t start) noexcept
{
    Block** const found = find_in(by_start[start / granule % buckets], start);
    return found != nullptr ? found : find_in(large_ones, start);
}

bool holds(const Block& block, std::uintptr_t address) noexcept
{
    return address >= block.start && address - block.start < std::max<std::size_t>(block.size, 1);
}

Block* find_around(std::uintptr_t address) noexcept
{
    for (Block* block = large_ones; block != nullptr; block = block->next)
        if (holds(*block, address))
            return block;
    for (std::size_t back = 0; back <= large && back <= address; back += granule)
        for (Block* block = by_start[(address - back) / granule % buckets]; block != nullptr; block = block->next)
            if (holds(*block, address))
                return block;
    return nullptr;
}

const char* name_of(Made made) noexcept
{
    switch (made) {
    case Made::by_new:
        return "new";
    case Made::by_new_array:
        return "new[]";
    case Made::by_malloc:
        return "malloc";
    case Made::by_aligned_malloc:
        return "_aligned_malloc";
    case Made::by_heap_alloc:
        return "HeapAlloc";
    case Made::by_virtual_alloc:
        return "VirtualAlloc";
    }
    return "";
}

Line begin_note(const char* word, std::uint64_t block) noexcept
{
    Line line = begin_line("note", next_sequence());
    line.field().text(word).field().text("block=").decimal(block);
    return line;
}

void tell_from(Line& line, const void* from) noexcept
{
    line.field().text("at=").hex(reinterpret_cast<std::uintptr_t>(from));
}

// Who called the function that `from` lies in, and who called that one: a delete may stand in a header of the C++ library.
void tell_callers(Line& line, const void* from) noexcept
{
    void* frames[24];
    void** const end = frames + CaptureStackBackTrace(0, static_cast<DWORD>(std::size(frames)), frames, nullptr);
    void** frame = std::find(frames, end, from);
    if (frame == end || ++frame == end)
        return;
    line.field().text("callers=").hex(reinterpret_cast<std::uintptr_t>(*frame));
    while (++frame != end)
        line.text(",").hex(reinterpret_cast<std::uintptr_t>(*frame));
}

bool can_be_filled(const Block& block) noexcept
{
    MEMORY_BASIC_INFORMATION about{};
    return block.made != Made::by_virtual_alloc ||
           (VirtualQuery(reinterpret_cast<void*>(block.start), &about, sizeof about) != 0 &&
            about.State == MEM_COMMIT && about.Protect == PAGE_READWRITE && about.RegionSize >= block.size);
}

bool in_executable(std::uintptr_t address) noexcept
{
    const auto base = reinterpret_cast<std::uintptr_t>(GetModuleHandleW(nullptr));
    const auto* const dos = reinterpret_cast<const IMAGE_DOS_HEADER*>(base);
    const auto* const headers =
        reinterpret_cast<const IMAGE_NT_HEADERS*>(base + static_cast<std::uintptr_t>(dos->e_lfanew));
    return address >= base && address - base < headers->OptionalHeader.SizeOfImage;
}

} // namespace

void remember_block(const void* start, std::size_t size, Made made, const void* from, void* raw) noexcept
{
    if (start == nullptr)
        return;
    const KeepLastError keep;
    const Lock guard(lock);
    const auto address = reinterpret_cast<std::uintptr_t>(start);
    Block* const block = pool.take();
    if (block == nullptr)
        return;
    Block*& chain = chain_of(address, size);
    *block = {chain, address, size, ++last_id, from, raw, made, false, false, false};
    chain = block;
}

static Freed forget(Block** at, const char* how, Made fits, const void* from) noexcept
{
    Block& block = **at;
    if (block.freed) {
        Line line = begin_note("double-free", block.id);
        tell_from(line, from);
        tell_callers(line, from);
        write(line);
        return {Freed::freed_again, block.made, block.raw, block.size};
    }
    if (block.made != fits) {
        Line line = begin_note("mismatch", block.id);
        line.field().text("made=").text(name_of(block.made)).field().text("freed=").text(how);
        tell_from(line, from);
        tell_callers(line, from);
        write(line);
    }
    const Freed given_back{Freed::give_back, block.made, block.raw, block.size};
    if (block.seen) {
        Line line = begin_note("free", block.id);
        line.field().text("how=").text(how);
        tell_from(line, from);
        tell_callers(line, from);
        write(line);
    }
    if (block.seen && kept_bytes + block.size <= most_kept) {
        kept_bytes += block.size;
        block.freed = true;
        block.filled = can_be_filled(block);
        if (block.filled)
            std::memset(reinterpret_cast<void*>(block.start), filler, block.size);
        return {Freed::kept, block.made, block.raw, block.size};
    }
    *at = block.next;
    pool.give_back(&block);
    return given_back;
}

Freed forget_block(void* start, const char* how, Made fits, const void* from) noexcept
{
    const KeepLastError keep;
    const Lock guard(lock);
    Block** const at = find_start(reinterpret_cast<std::uintptr_t>(start));
    return at != nullptr ? forget(at, how, fits, from) : Freed{Freed::unknown, fits, nullptr, 0};
}

// Whether one in this chain is kept.
static bool forget_heap_in(Block** at, const void* heap, const void* from) noexcept
{
    bool any_kept = false;
    while (*at != nullptr) {
        Block& block = **at;
        const bool is_of_it = block.made == Made::by_heap_alloc && block.raw == heap;
        const bool stays = !is_of_it || block.freed || forget(at, "HeapDestroy", block.made, from).what == Freed::kept;
        any_kept = any_kept || (is_of_it && stays);
        if (stays)
            at = &block.next;
    }
    return any_kept;
}

bool forget_heap(const void* heap, const void* from) noexcept
{
    const KeepLastError keep;
    const Lock guard(lock);
    bool any_kept = forget_heap_in(&large_ones, heap, from);
    for (Block*& chain : by_start)
        any_kept = forget_heap_in(&chain, heap, from) || any_kept;
    return any_kept;
}

static void tell_writes_into(const Block* chain) noexcept
{
    for (const Block* block = chain; block != nullptr; block = block->next) {
        const auto* const bytes = reinterpret_cast<const unsigned char*>(block->start);
        if (!block->filled || !can_be_filled(*block) || // it could be then, and may be protected since
            std::all_of(bytes, bytes + block->size, [](unsigned char byte) { return byte == filler; }))
            continue;
        write(begin_note("written-after-free", block->id));
    }
}

void tell_writes_after_free() noexcept
{
    const KeepLastError keep;
    const Lock guard(lock);
    for (const Block* chain : by_start)
        tell_writes_into(chain);
    tell_writes_into(large_ones);
}

namespace {

// Less than this may be something that a program has once and keeps to its end.
constexpr std::size_t many = 100;

struct Place {
    const void* from;
    std::size_t blocks;
    std::size_t bytes;
};

// Of the places that are met first: where memory grows, many a block in any chain comes from there.
class Places {
public:
    void count(const Block* chain) noexcept
    {
        for (const Block* block = chain; block != nullptr; block = block->next)
            if (!block->freed)
                if (Place* const place = place_of(block->from)) {
                    ++place->blocks;
                    place->bytes += block->size;
                }
    }

    void tell() const noexcept
    {
        for (const Place& place : places_) {
            if (place.blocks < many)
                continue;
            Line line = begin_line("note", next_sequence());
            line.field().text("never-freed").field().text("blocks=").decimal(place.blocks);
            line.field().text("bytes=").decimal(place.bytes);
            tell_from(line, place.from);
            write(line);
        }
    }

private:
    Place* place_of(const void* from) noexcept
    {
        for (Place& place : places_) {
            if (place.from == nullptr)
                place.from = from;
            if (place.from == from)
                return &place;
        }
        return nullptr;
    }

    Place places_[256]{};
};

} // namespace

void tell_what_was_never_freed() noexcept
{
    const KeepLastError keep;
    const Lock guard(lock);
    Places places;
    for (const Block* chain : by_start)
        places.count(chain);
    places.count(large_ones);
    places.tell();
}

std::size_t block_size(const void* start) noexcept
{
    const Lock guard(lock);
    Block** const at = find_start(reinterpret_cast<std::uintptr_t>(start));
    return at != nullptr ? (*at)->size : 0;
}

void tell_where(Line& line, const void* address) noexcept
{
    const auto number = reinterpret_cast<std::uintptr_t>(address);
    if (const Thread* thread = thread_with_stack_at(number)) {
        line.text("stack:").hex(thread->id);
        return;
    }
    if (in_executable(number)) {
        line.text("static");
        return;
    }
    const Lock guard(lock);
    Block* const block = find_around(number);
    if (block == nullptr) {
        line.text("other");
        return;
    }
    if (!block->seen) {
        block->seen = true;
        Line note = begin_note("alloc", block->id);
        note.field().text("size=").decimal(block->size);
        tell_from(note, block->from);
        write(note);
    }
    line.text("heap:").decimal(block->id);
}

} // namespace probe
