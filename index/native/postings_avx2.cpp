#include "postings_loop.h"

const PostingKernels postings_avx2 = {add, add_saturated, count_from, find_from, keep_allowed, row_score};
