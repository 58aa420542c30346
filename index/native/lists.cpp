// Lists of postings, scanned list by list and added up query row by query row. Of the losses that a list yields only
// those below the floor of their query row go on; what is scattered is one board of two bytes per document.
#include "lists.h"

#include <cstring>

#include "dispatch.h"
#include "parallel.h"
#include "pq4.h"

namespace {

constexpr std::size_t table_bytes = 16 * 1024;  // of the query rows of one pass: stays in L1 beside a block
constexpr std::size_t line = 64;  // bytes that come from memory together
constexpr std::size_t sparse = 32;  // up to a 32nd of the documents found: they are visited, and not the whole board
constexpr std::size_t task_blocks = 1 << 13;  // scoring that many blocks with a query row pays for a thread

// What was found above the floor of one query row, in the order of the lists.
struct Found {
    std::uint32_t* documents;
    std::uint16_t* gains;
    std::size_t count = 0, room = block_tokens;
};

std::size_t blocks_of(const ListScan& scan, std::size_t pair) {
    return std::size_t(scan.bounds[scan.lists[pair] + 1] - scan.bounds[scan.lists[pair]]);
}

// The memory stays with the thread: mapping it anew for every search took a fifth of the scan.
void give_room(std::vector<Found>& found) {
    thread_local std::vector<std::uint32_t> documents;
    thread_local std::vector<std::uint16_t> gains;
    std::size_t room = 0;
    for (const Found& of : found) room += of.room;
    if (documents.size() < room) documents.resize(room), gains.resize(room);
    room = 0;
    for (Found& of : found) {
        of.documents = documents.data() + room, of.gains = gains.data() + room;
        room += of.room;
    }
}

std::uint32_t open_tokens(const bool* allowed, std::size_t count, const std::uint32_t* documents) {
    std::uint32_t open = 0;
    for (unsigned t = 0; t < block_tokens; ++t)
        open |= std::uint32_t(documents[t] < count && allowed[documents[t]]) << t;
    return open;
}

// Scores list `list` for query rows rows[0 .. n), whose tables lie one after the other.
void score_list(const Kernels& k, const ListScan& scan, std::int64_t list, const std::int64_t* rows, std::size_t n,
                const std::uint8_t* table, std::uint16_t* losses, Found* found) {
    for (std::int64_t block = scan.bounds[list]; block < scan.bounds[list + 1]; ++block) {
        const std::uint32_t* documents = scan.documents + std::size_t(block) * block_tokens;
        const std::uint32_t open = scan.allowed ? open_tokens(scan.allowed, scan.count, documents) : ~0u;
        if (!open) continue;
        const std::uint8_t* codes = scan.codes + std::size_t(block) * scan.subs * 16;
        if (block + 1 < scan.bounds[list + 1])
            for (std::size_t at = 0; at < scan.subs * 16; at += line) __builtin_prefetch(codes + scan.subs * 16 + at);
        k.pq4.losses(codes, scan.subs, table, n, losses);
        for (std::size_t j = 0; j < n; ++j) {
            Found& to = found[rows[j]];
            to.count += k.lists.below(losses + j * block_tokens, documents, open, scan.floors[rows[j]],
                                      std::uint32_t(scan.count), to.documents + to.count, to.gains + to.count);
        }
    }
}

// Takes the best gain of every document into its sum. The board is zero before and after.
void add_up(const Found& found, std::size_t count, std::uint16_t* __restrict board, std::uint32_t* __restrict gains) {
    if (found.count > count / sparse) {
        for (std::size_t i = 0; i < found.count; ++i) {
            const std::uint16_t gain = found.gains[i], before = board[found.documents[i]];
            board[found.documents[i]] = gain > before ? gain : before;
        }
        for (std::size_t d = 0; d < count; ++d) gains[d] += board[d];
        std::memset(board, 0, count * sizeof *board);
        return;
    }
    for (std::size_t i = 0; i < found.count; ++i) {
        const std::uint32_t document = found.documents[i];
        const std::uint16_t before = board[document], gain = std::max(found.gains[i], before);
        gains[document] += std::uint32_t(gain - before);
        board[document] = gain;
    }
    for (std::size_t i = 0; i < found.count; ++i) board[found.documents[i]] = 0;
}

// Query rows [begin, end), all their lists.
void score_rows(const ListScan& scan, std::size_t begin, std::size_t end, std::uint32_t* gains) {
    const Kernels& k = kernels();
    std::vector<Found> found(scan.query_rows);
    const auto mine = [&](std::size_t p) {
        const auto row = std::size_t(scan.rows[p]);
        return begin <= row && row < end;
    };
    for (std::size_t p = 0; p < scan.pairs; ++p)
        if (mine(p)) found[scan.rows[p]].room += blocks_of(scan, p) * block_tokens;
    give_room(found);
    const std::size_t entry = scan.subs * 16;
    std::vector<std::uint8_t> table((end - begin) * entry);
    std::vector<std::uint16_t> losses((end - begin) * block_tokens);
    std::vector<std::int64_t> rows(end - begin);
    for (std::size_t p = 0; p < scan.pairs;) {
        const std::int64_t list = scan.lists[p];
        std::size_t n = 0;
        for (; p < scan.pairs && scan.lists[p] == list; ++p) {
            if (!mine(p)) continue;
            std::memcpy(table.data() + n * entry, scan.table + std::size_t(scan.rows[p]) * entry, entry);
            rows[n++] = scan.rows[p];
        }
        if (n) score_list(k, scan, list, rows.data(), n, table.data(), losses.data(), found.data());
    }
    std::vector<std::uint16_t> board(scan.count);
    for (std::size_t i = begin; i < end; ++i) add_up(found[i], scan.count, board.data(), gains);
}

}  // namespace

void list_scan(const ListScan& scan, unsigned threads, std::uint32_t* gains) {
    std::size_t work = 0;
    for (std::size_t p = 0; p < scan.pairs; ++p) work += blocks_of(scan, p);
    const std::size_t most = std::min<std::size_t>(threads, scan.query_rows);
    const std::size_t tasks = std::max<std::size_t>(1, std::min(most, work / task_blocks));
    std::vector<std::vector<std::uint32_t>> others(tasks - 1, std::vector<std::uint32_t>(scan.count));
    std::fill(gains, gains + scan.count, 0);
    parallel(tasks, threads, [&](std::size_t task) {
        const std::size_t begin = task * scan.query_rows / tasks, end = (task + 1) * scan.query_rows / tasks;
        const std::size_t step = std::max<std::size_t>(4, table_bytes / (scan.subs * 16));
        for (std::size_t row = begin; row < end; row += step)
            score_rows(scan, row, std::min(row + step, end), task ? others[task - 1].data() : gains);
    });
    for (const auto& other : others)
        for (std::size_t d = 0; d < scan.count; ++d) gains[d] += other[d];
}
