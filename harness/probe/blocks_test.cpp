// Blocks of memory: where an address lies, and how a block may go.
#include "blocks.hpp"

#include "traced.hpp"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

namespace {

using probe::Freed;
using probe::Made;
using units::Entry;

class Blocks : public units::Traced {
protected:
    static std::string where(const void* address)
    {
        probe::Line line;
        probe::tell_where(line, address);
        return std::string(line.view());
    }
};

// A compiler may leave out a pair of new and delete; not when the address has passed through here.
template <typename Pointer>
PROBE_NOT_INLINED Pointer* shown(Pointer* pointer)
{
    Pointer* volatile passed = pointer;
    return passed;
}

TEST_F(Blocks, AreFoundByAnyAddressInside)
{
    for (const std::size_t size : {std::size_t{1}, std::size_t{100}, std::size_t{60'000}, std::size_t{1} << 20}) {
        const std::unique_ptr<char[]> block(shown(new char[size]));
        const std::string name = where(block.get());
        EXPECT_EQ(name.substr(0, 5), "heap:");
        EXPECT_EQ(where(block.get() + size - 1), name);
        EXPECT_NE(where(block.get() + size), name);
    }
}

TEST_F(Blocks, AreToldApartFromStackAndStatics)
{
    static int in_the_image = 0;
    const int here = 0;
    EXPECT_EQ(where(&in_the_image), "static");
    static_cast<void>(where(&here)); // this thread is known from its first recorded call on
    SwitchToThread();
    EXPECT_EQ(where(&here), "stack:" + units::hex(GetCurrentThreadId()));
    EXPECT_EQ(where(reinterpret_cast<void*>(0x10)), "other");
}

TEST_F(Blocks, TellOnceWhereTheyCameFrom)
{
    char* const block = shown(new char[77]);
    const std::string id = where(block).substr(5);
    static_cast<void>(where(block));
    ASSERT_EQ(notes("alloc").size(), 1U);
    EXPECT_EQ(notes("alloc")[0].fact("block"), id);
    EXPECT_EQ(notes("alloc")[0].fact("size"), "77");
    delete[] block;
}

// As a container's, whose delete stands in a header of the C++ library.
PROBE_NOT_INLINED void free_for_somebody_else(char* block)
{
    delete[] block;
    SwitchToThread(); // so that the delete is no jump, which would leave no address of ours behind
}

TEST_F(Blocks, TellWhoLedToTheirEnd)
{
    char* const block = shown(new char[16]);
    static_cast<void>(where(block));
    free_for_somebody_else(block);
    free_for_somebody_else(block);
    ASSERT_EQ(notes("free").size(), 1U);
    const std::string first = notes("free")[0].fact("callers");
    ASSERT_EQ(notes("double-free").size(), 1U);
    const std::string second = notes("double-free")[0].fact("callers");
    EXPECT_EQ(notes("free")[0].fact("at"), notes("double-free")[0].fact("at"));
    EXPECT_NE(first.substr(0, first.find(',')), second.substr(0, second.find(','))) << first << " and " << second;
    EXPECT_EQ(first.substr(first.find(',')), second.substr(second.find(',')));
}

TEST_F(Blocks, ThatPileUpAtOnePlaceAreToldOf)
{
    std::unique_ptr<char[]> kept[100];
    for (auto& block : kept)
        block.reset(shown(new char[7]));
    probe::tell_what_was_never_freed();
    const auto of_these = [](const Entry& note) { return note.fact("bytes") == "700"; };
    const std::vector<Entry> told = notes("never-freed");
    ASSERT_EQ(std::count_if(told.begin(), told.end(), of_these), 1);
    EXPECT_EQ(std::find_if(told.begin(), told.end(), of_these)->fact("blocks"), "100");

    kept[0].reset();
    probe::tell_what_was_never_freed();
    const std::vector<Entry> both = notes("never-freed");
    EXPECT_EQ(std::count_if(both.begin(), both.end(), of_these), 1);
}

TEST_F(Blocks, ThatTheKernelHasSeenStayAndTellASecondDelete)
{
    char* const block = shown(new char[16]);
    const std::string id = where(block).substr(5);
    delete[] block;
    EXPECT_EQ(static_cast<unsigned char>(*shown(block)), 0xDD);
    ASSERT_EQ(notes("free").size(), 1U);
    EXPECT_EQ(notes("free")[0].fact("block"), id);
    EXPECT_EQ(notes("free")[0].fact("how"), "delete[]");
    EXPECT_TRUE(notes("double-free").empty());
    ::operator delete[](block);
    ASSERT_EQ(notes("double-free").size(), 1U);
    EXPECT_EQ(notes("double-free")[0].fact("block"), id);
}

TEST_F(Blocks, AreLookedAtOnceMoreForWritesAfterTheirEnd)
{
    int* const written = shown(new int[4]);
    int* const left_alone = shown(new int[4]);
    const std::string id = where(written).substr(5);
    static_cast<void>(where(left_alone));
    delete[] written;
    delete[] left_alone;
    --*shown(written + 3); // it is in quarantine: nothing is hurt by it
    probe::tell_writes_after_free();
    ASSERT_EQ(notes("written-after-free").size(), 1U);
    EXPECT_EQ(notes("written-after-free")[0].fact("block"), id);
    *written = *left_alone;
    *shown(written + 3) = *left_alone; // or the next test would hear of it again
}

TEST_F(Blocks, ThatTheKernelHasNotSeenGoWithoutANote)
{
    delete shown(new int);
    free(shown(malloc(3)));
    HeapFree(GetProcessHeap(), 0, shown(HeapAlloc(GetProcessHeap(), 0, 3)));
    for (const Entry& entry : entries())
        EXPECT_NE(entry.kind(), "note") << entry.name();
}

TEST_F(Blocks, FreedAnotherWayThanMadeAreTold)
{
    void* const by_array = shown(::operator new[](8));
    ::operator delete(by_array);
    void* const by_malloc = shown(malloc(8));
    ::operator delete(by_malloc);
    free(shown(::operator new(8)));
    const std::vector<Entry> told = notes("mismatch");
    ASSERT_EQ(told.size(), 3U);
    EXPECT_EQ(told[0].fact("made") + " " + told[0].fact("freed"), "new[] delete");
    EXPECT_EQ(told[1].fact("made") + " " + told[1].fact("freed"), "malloc delete");
    EXPECT_EQ(told[2].fact("made") + " " + told[2].fact("freed"), "new free");
}

TEST_F(Blocks, MoveWhenTheirSizeChanges)
{
    auto* const block = static_cast<char*>(shown(malloc(4)));
    block[0] = 'a';
    static_cast<void>(where(block));
    auto* const larger = static_cast<char*>(realloc(block, 4000));
    EXPECT_NE(larger, block);
    EXPECT_EQ(larger[0], 'a');
    EXPECT_EQ(notes("free").at(0).fact("how"), "realloc");
    free(larger);
}

TEST_F(Blocks, OfVirtualAllocAreKnownToo)
{
    auto* const block = static_cast<char*>(VirtualAlloc(nullptr, 8192, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE));
    EXPECT_EQ(where(block + 5000).substr(0, 5), "heap:");
    EXPECT_TRUE(VirtualFree(block, 0, MEM_RELEASE));
    EXPECT_EQ(notes("free").at(0).fact("how"), "VirtualFree");
}

TEST_F(Blocks, GoWithTheirHeap)
{
    const HANDLE heap = HeapCreate(0, 0, 0);
    ASSERT_NE(heap, nullptr);
    void* const given_back = shown(HeapAlloc(heap, 0, 8));
    auto* const left = static_cast<char*>(shown(HeapAlloc(heap, 0, 8)));
    static_cast<void>(where(given_back));
    const std::string id = where(left).substr(5);
    HeapFree(heap, 0, given_back);
    EXPECT_TRUE(HeapDestroy(heap));
    ASSERT_EQ(notes("free").size(), 2U);
    EXPECT_EQ(notes("free")[1].fact("block"), id);
    EXPECT_EQ(notes("free")[1].fact("how"), "HeapDestroy");
    EXPECT_EQ(static_cast<unsigned char>(*left), 0xDD); // what the kernel may still write to is kept
    probe::tell_writes_after_free();
    EXPECT_TRUE(notes("written-after-free").empty());

    const HANDLE other = HeapCreate(0, 0, 0);
    ASSERT_NE(other, nullptr);
    auto* const unseen = shown(HeapAlloc(other, 0, 8));
    EXPECT_TRUE(HeapDestroy(other));
    EXPECT_EQ(probe::block_size(unseen), 0U);
}

TEST_F(Blocks, ComeFromEveryFormOfNew)
{
    struct alignas(64) Wide {
        char room[64];
    };
    const std::unique_ptr<Wide> one(shown(new Wide));
    const std::unique_ptr<Wide[]> three(shown(new Wide[3]));
    EXPECT_EQ(probe::as_number(one.get()) % 64, 0U);
    EXPECT_EQ(probe::as_number(three.get()) % 64, 0U);
    void* const quiet = shown(::operator new(8, std::nothrow));
    EXPECT_EQ(where(quiet).substr(0, 5), "heap:");
    ::operator delete(quiet, std::nothrow);
    const volatile std::size_t too_much = ~std::size_t{0} / 4;
    EXPECT_THROW(::operator delete(::operator new(too_much)), std::bad_alloc);
    EXPECT_EQ(::operator new(too_much, std::nothrow), nullptr);
    EXPECT_TRUE(notes("mismatch").empty());
}

} // namespace
