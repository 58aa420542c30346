#pragma once
#include "kernels.h"

// Postings lie in blocks as pq4.h has them, every list in blocks of its own; entries of `documents` that number no
// document fill up the last block of a list.
struct ListScan {
    const std::uint8_t* codes;       // (blocks, subs / 2, 32)
    const std::uint32_t* documents;  // (blocks, 32)
    const std::int64_t* bounds;      // (lists + 1,) list l is blocks bounds[l] .. bounds[l + 1] - 1
    const bool* allowed;             // (count,) or nullptr
    std::size_t count, subs;         // count: of all documents
    const std::uint8_t* table;       // (query rows, subs, 16)
    const std::uint16_t* floors;     // (query rows,) the loss that a document has which nothing better was found of
    const std::int64_t *lists, *rows;  // (pairs,) query row rows[p] probes lists[p]; pairs rise and none is twice
    std::size_t query_rows, pairs;
};

// gains[d] = sum over query rows i of max(0, floors[i] - least loss of document d in the lists that i probes).
// The query rows are split among the threads; sums of integers do not depend on how.
void list_scan(const ListScan& scan, unsigned threads, std::uint32_t* gains);
