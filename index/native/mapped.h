#pragma once
// Files mapped for reading, without a descriptor. A page that the system cannot give any more (the file was cut, the
// disk does not read) is a SIGBUS, which ends the process unless it is handled. Here the rest of the map becomes
// zeros, the map is marked as lost, and the reader goes on: who asked must look at the mark before believing what was
// read.
#include <cstddef>
#include <cstdint>

struct Mapped {
    const std::uint8_t* data;
    std::size_t size;
    std::size_t slot;
};

// size > 0. Throws std::system_error. The descriptor may be closed afterwards.
Mapped map_file(int descriptor, std::size_t size);
void unmap_file(const Mapped& mapped);

// Marks a range that somebody else has mapped, until it is given back.
std::size_t guard(const void* begin, std::size_t size);
void unguard(std::size_t slot);

// Whether pages of a range were lost. Of all ranges together: how often that has happened.
bool lost(std::size_t slot);
std::size_t losses();

// The first of n files, paths one after the other and each ended by NUL, whose size, time of change in nanoseconds or
// inode is not that in stats (n, 3); n: none. A path without a file counts as unchanged: what is mapped stays.
std::size_t first_changed(const char* paths, const std::int64_t* stats, std::size_t n);
