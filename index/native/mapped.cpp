#include "mapped.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <system_error>
#include <vector>

namespace {

struct Slot {
    std::atomic<std::uintptr_t> begin{0}, end{0};
    std::atomic<bool> lost{false};
};

// More maps than the system allows a process by default (vm.max_map_count). The handler reads this alone, without a
// lock.
constexpr std::size_t SLOTS = std::size_t(1) << 17;
Slot slots[SLOTS];
std::atomic<std::size_t> used{0}, lost_count{0};
std::atomic<bool> passed_on{false};
std::uintptr_t page = 4096;
struct sigaction before;
std::mutex changing;
std::vector<std::size_t> free_slots;

bool replaced(std::uintptr_t at) {
    const std::size_t n = used.load(std::memory_order_acquire);
    for (std::size_t i = 0; i < n; ++i) {
        const std::uintptr_t begin = slots[i].begin.load(), end = slots[i].end.load();
        if (at < begin || at >= end) continue;
        slots[i].lost.store(true);
        lost_count.fetch_add(1);
        const std::uintptr_t from = at & ~(page - 1), to = (end + page - 1) & ~(page - 1);
        void* zeros = mmap(reinterpret_cast<void*>(from), to - from, PROT_READ,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        return zeros != MAP_FAILED;
    }
    return false;
}

void on_bus_error(int number, siginfo_t* info, void*) {
    const int kept = errno;
    // Positive: the kernel says so, and the address is that of an access.
    if (info->si_code > 0 && replaced(reinterpret_cast<std::uintptr_t>(info->si_addr))) {
        errno = kept;
        return;
    }
    // Not of our maps: whoever was there before sees it when the access is made again, and nobody sees it twice.
    struct sigaction next = before;
    if (passed_on.exchange(true)) {
        std::memset(&next, 0, sizeof next);
        next.sa_handler = SIG_DFL;
    }
    sigaction(number, &next, nullptr);
    errno = kept;
    if (info->si_code <= 0) raise(number);
}

// Again with every map: somebody may have set another handler since, to which ours then passes on what is not its own.
void handle_bus_errors() {
    struct sigaction now;
    sigaction(SIGBUS, nullptr, &now);
    if ((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == on_bus_error) return;
    before = now;
    struct sigaction ours;
    std::memset(&ours, 0, sizeof ours);
    ours.sa_sigaction = on_bus_error;
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&ours.sa_mask);
    sigaction(SIGBUS, &ours, nullptr);
}

#if defined(__APPLE__)
std::int64_t nanoseconds(const struct stat& s) {
    return std::int64_t(s.st_mtimespec.tv_sec) * 1000000000 + s.st_mtimespec.tv_nsec;
}
#else
std::int64_t nanoseconds(const struct stat& s) {
    return std::int64_t(s.st_mtim.tv_sec) * 1000000000 + s.st_mtim.tv_nsec;
}
#endif

}  // namespace

std::size_t guard(const void* begin, std::size_t size) {
    const std::lock_guard<std::mutex> lock(changing);
    page = std::uintptr_t(sysconf(_SC_PAGESIZE));
    handle_bus_errors();
    std::size_t slot = used.load();
    if (!free_slots.empty()) {
        slot = free_slots.back();
        free_slots.pop_back();
    } else if (slot == SLOTS) {
        throw std::system_error(ENOMEM, std::generic_category(), "too many files are mapped");
    }
    Slot& taken = slots[slot];
    taken.lost.store(false);
    // An end before its begin holds no address.
    taken.begin.store(reinterpret_cast<std::uintptr_t>(begin));
    taken.end.store(reinterpret_cast<std::uintptr_t>(begin) + size);
    if (slot == used.load()) used.store(slot + 1, std::memory_order_release);
    return slot;
}

void unguard(std::size_t slot) {
    const std::lock_guard<std::mutex> lock(changing);
    slots[slot].end.store(0);
    slots[slot].begin.store(0);
    free_slots.push_back(slot);
}

bool lost(std::size_t slot) { return slots[slot].lost.load(); }

std::size_t losses() { return lost_count.load(); }

Mapped map_file(int descriptor, std::size_t size) {
    void* data = mmap(nullptr, size, PROT_READ, MAP_SHARED, descriptor, 0);
    if (data == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "mmap");
    try {
        return {static_cast<const std::uint8_t*>(data), size, guard(data, size)};
    } catch (...) {
        munmap(data, size);
        throw;
    }
}

void unmap_file(const Mapped& mapped) {
    unguard(mapped.slot);
    munmap(const_cast<std::uint8_t*>(mapped.data), mapped.size);
}

std::size_t first_changed(const char* paths, const std::int64_t* stats, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i, paths += std::strlen(paths) + 1, stats += 3) {
        struct stat now;
        if (stat(paths, &now)) continue;
        if (now.st_size != stats[0] || nanoseconds(now) != stats[1] || std::int64_t(now.st_ino) != stats[2]) return i;
    }
    return n;
}
