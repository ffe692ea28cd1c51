#include "files_on_ports.hpp"

#include "requests.hpp"

namespace probe {

namespace {

struct Node {
    Node* next;
    FileOnPort about;
};

constexpr std::size_t buckets = 1024;
constinit SRWLOCK lock = SRWLOCK_INIT;
constinit Pool<Node> pool{};
constinit Node* by_file[buckets]{};

constinit FileOnPort out_of_memory{};

Node** find(HANDLE file) noexcept
{
    Node** at = &by_file[reinterpret_cast<std::uintptr_t>(file) / 4 % buckets];
    while (*at != nullptr && (*at)->about.file != file)
        at = &(*at)->next;
    return at;
}

FileOnPort& entry(HANDLE file) noexcept
{
    Node** const at = find(file);
    if (*at == nullptr) {
        Node* const fresh = pool.take();
        if (fresh == nullptr)
            return out_of_memory;
        *fresh = {nullptr, {file}};
        *at = fresh;
    }
    return (*at)->about;
}

} // namespace

FileOnPort port_of(HANDLE file) noexcept
{
    const Lock guard(lock);
    Node* const found = *find(file);
    return found != nullptr ? found->about : FileOnPort{};
}

void file_is_on_port(HANDLE file, HANDLE port, ULONG_PTR key) noexcept
{
    const Lock guard(lock);
    FileOnPort& about = entry(file);
    about.port = port;
    about.key = key;
}

void file_skips_packets(HANDLE file) noexcept
{
    const Lock guard(lock);
    entry(file).skips = true;
}

void forget_file(HANDLE file) noexcept
{
    const Lock guard(lock);
    Node** const at = find(file);
    if (*at == nullptr)
        return;
    Node* const gone = *at;
    *at = gone->next;
    pool.give_back(gone);
}

} // namespace probe
