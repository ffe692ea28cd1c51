// imports: replaces what the executable imports, without touching a file or another process.
#pragma once

namespace probe {

// Points every import of `real` in the executable at `replacement`, under whichever name or number it was imported:
// imports are matched by address (MSVC imports Winsock by number). True if the executable imports it at all.
bool replace_import(const void* real, const void* replacement) noexcept;

} // namespace probe
