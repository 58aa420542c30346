#pragma once
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <system_error>
#include <thread>
#include <vector>

// Runs task(0) .. task(tasks - 1), each once, on up to `threads` threads, this one among them.
// Tasks write to separate places, so that the result does not depend on who runs them.
template <class Task>
void parallel(std::size_t tasks, unsigned threads, const Task& task) {
    std::atomic<std::size_t> next{0};
    std::exception_ptr failure;
    std::atomic_flag failed = ATOMIC_FLAG_INIT;
    const auto work = [&] {
        try {
            for (std::size_t i; (i = next++) < tasks;) task(i);
        } catch (...) {
            if (!failed.test_and_set()) failure = std::current_exception();
        }
    };
    std::vector<std::thread> others;
    try {
        for (std::size_t i = 1; i < std::min<std::size_t>(threads, tasks); ++i) others.emplace_back(work);
    } catch (const std::system_error&) {
        // Fewer threads than asked for: those there are do all of it.
    }
    work();
    for (std::thread& other : others) other.join();
    if (failure) std::rethrow_exception(failure);
}
