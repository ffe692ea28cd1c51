#include "unwanted_packets.hpp"

#include "system.hpp"

#include <cstdint>

namespace probe {

namespace {

struct Unwanted {
    Unwanted* next; // the pool's
    Unwanted* in_bucket;
    const OVERLAPPED* request;
};

constexpr std::size_t buckets = 1024;
constinit SRWLOCK lock = SRWLOCK_INIT;
constinit Pool<Unwanted> pool{};
constinit Unwanted* by_address[buckets]{};

Unwanted*& bucket_of(const OVERLAPPED* request) noexcept
{
    return by_address[reinterpret_cast<std::uintptr_t>(request) / 16 % buckets];
}

} // namespace

void expect_unwanted_packet(const OVERLAPPED* request) noexcept
{
    const Lock guard(lock);
    if (Unwanted* const fresh = pool.take()) {
        Unwanted*& bucket = bucket_of(request);
        *fresh = {nullptr, bucket, request};
        bucket = fresh;
    }
}

bool is_unwanted(const OVERLAPPED* request) noexcept
{
    const KeepLastError keep;
    const Lock guard(lock);
    for (Unwanted** at = &bucket_of(request); *at != nullptr; at = &(*at)->in_bucket) {
        if ((*at)->request != request)
            continue;
        Unwanted* const gone = *at;
        *at = gone->in_bucket;
        pool.give_back(gone);
        return true;
    }
    return false;
}

} // namespace probe
