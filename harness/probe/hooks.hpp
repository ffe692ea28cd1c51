// hooks: what is recorded, by topic. Each installs the hooks of its topic that the executable has a use for.
#pragma once

namespace probe {

void install_files() noexcept;
void install_results() noexcept; // GetOverlappedResult, CancelIo and their kin
void install_events() noexcept;  // events and waits
void install_threads() noexcept;
void install_ports() noexcept;
void install_sockets() noexcept;
void install_transfers() noexcept; // what moves bytes over sockets, and AcceptEx

inline void install_all() noexcept
{
    install_files();
    install_results();
    install_events();
    install_threads();
    install_ports();
    install_sockets();
    install_transfers();
}

} // namespace probe
