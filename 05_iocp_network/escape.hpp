// Stage 5: received bytes as one printable line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

// How many bytes at the start of text are one well-formed UTF-8 character; 0 if they are none (The Unicode Standard,
// table 3-7: no overlong form, no surrogate, nothing above U+10FFFF).
inline std::size_t utf8_character(std::string_view text) noexcept
{
    const auto at = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; };
    const auto continues = [&](std::size_t i) { return (at(i) & 0xC0U) == 0x80U; };
    const unsigned first = at(0);
    const unsigned second = at(1);
    if (first < 0x80)
        return text.empty() ? 0 : 1;
    if (first >= 0xC2 && first <= 0xDF)
        return continues(1) ? 2 : 0;
    if (first >= 0xE0 && first <= 0xEF) {
        const bool overlong = first == 0xE0 && second < 0xA0;
        const bool surrogate = first == 0xED && second >= 0xA0;
        return continues(1) && continues(2) && !overlong && !surrogate ? 3 : 0;
    }
    if (first >= 0xF0 && first <= 0xF4) {
        const bool overlong = first == 0xF0 && second < 0x90;
        const bool too_large = first == 0xF4 && second >= 0x90;
        return continues(1) && continues(2) && continues(3) && !overlong && !too_large ? 4 : 0;
    }
    return 0;
}

// N11: exactly the bytes received, whatever they are: UTF-8 as itself, a line end as \n, any other control character and
// any byte that is not UTF-8 as \xNN, a backslash doubled. What comes out is always one line and can be read back.
inline std::string escape(std::string_view received)
{
    constexpr std::string_view digits = "0123456789abcdef";
    std::string line;
    while (!received.empty()) {
        const auto byte = static_cast<unsigned char>(received.front());
        const bool c1 = byte == 0xC2 && received.substr(1, 1) < "\xA0"; // U+0080 to U+009F: control characters too
        const std::size_t length = c1 ? 0 : utf8_character(received);
        if (byte == '\n')
            line += "\\n";
        else if (byte == '\r')
            line += "\\r";
        else if (byte == '\t')
            line += "\\t";
        else if (byte == '\\')
            line += "\\\\";
        else if (length == 0 || byte < 0x20 || byte == 0x7F)
            line.append("\\x").append(1, digits[byte >> 4]).append(1, digits[byte & 15U]);
        else
            line += received.substr(0, length);
        received.remove_prefix(length == 0 ? 1 : length);
    }
    return line;
}
