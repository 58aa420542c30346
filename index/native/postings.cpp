// Term at a time, window by window: the sums of a window are bounds of its documents' scores. Those that reach the k-th
// score found so far are scored from their rows, so that the answer is exact. Once the terms not yet added could no
// longer lift an unseen document that far, a window stops and its few candidates are scored (MaxScore, Turtle and Flood,
// IP&M 1995, here with the bounds of each window).
#include "postings.h"

#include <cfloat>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <stdexcept>
#include <vector>

#include "dispatch.h"
#include "parallel.h"

namespace {

constexpr std::size_t most_terms = 8192;  // of a query in windows: rounding each up by a few must leave sums their 16 bits
constexpr double most_rounding = 3;       // units that rounding up adds for a term: factor, constant and their sum
constexpr double above = 1 + 1e-9, below = 1 - 1e-6;  // more than double and float rounding can take
constexpr std::size_t entry_cost = 4;  // of scoring a row, in postings added for each of its entries: measured

struct Hit {
    float score;
    std::int64_t document;
};

bool better(const Hit& a, const Hit& b) { return a.score != b.score ? a.score > b.score : a.document < b.document; }

// The k best so far, the worst of them in front.
class Best {
  public:
    explicit Best(std::size_t k) : k_(k) { hits_.reserve(k); }
    std::size_t missing() const { return k_ - hits_.size(); }
    float kth() const { return missing() || !k_ ? -std::numeric_limits<float>::infinity() : hits_.front().score; }
    void take(const Hit& hit) {
        if (!k_ || (!missing() && !better(hit, hits_.front()))) return;
        if (!missing()) std::pop_heap(hits_.begin(), hits_.end(), better), hits_.pop_back();
        hits_.push_back(hit);
        std::push_heap(hits_.begin(), hits_.end(), better);
    }
    const std::vector<Hit>& hits() const { return hits_; }

  private:
    std::size_t k_;
    std::vector<Hit> hits_;
};

// Scores documents from their rows. A query of one row is in a table in which, most often, no two keys meet.
class Scorer {
  public:
    Scorer(const PostingIndex& index, const SparseRows& query) : index_(index), kernels_(kernels()) {
        if (query.rows != 1 || index.token_rows) {
            maxsim_.emplace(query);
            return;
        }
        const std::size_t terms = std::size_t(query.bounds[1] - query.bounds[0]);
        table_ = {nullptr, 1024, 2654435769u, 22, false};
        for (; table_.size < terms * 16; table_.size *= 2) --table_.shift;
        fill(query);
        for (int tries = 1; tries < 16 && !table_.perfect; ++tries) {
            table_.factor = table_.factor * 2654435761u | 1;
            fill(query);
        }
    }

    // The score of a document; false if none of its terms is in the query.
    bool score(std::size_t document, float* out) {
        const std::size_t first = index_.token_rows ? std::size_t(index_.token_rows[document]) : document;
        const std::size_t rows = index_.token_rows ? std::size_t(index_.token_rows[document + 1]) - first : 1;
        const std::int64_t begin = index_.row_bounds[first];
        if (maxsim_) return maxsim_->score(index_.row_keys, index_.values, index_.row_bounds + first, rows, out);
        const std::size_t n = std::size_t(index_.row_bounds[first + 1] - begin);
        const float* values = index_.values ? index_.values + begin : nullptr;
        if (index_.halves) {
            wide_.resize(n);
            kernels_.ragged.widen(index_.halves + begin, n, wide_.data());
            values = wide_.data();
        }
        const double norm = index_.norms ? index_.norms[document] : -1;
        bool found;
        *out = float(kernels_.postings.row_score(index_.row_keys + begin, values, n, norm, table_, &found));
        return found;
    }

  private:
    void fill(const SparseRows& query) {
        slots_.assign(table_.size, {});
        table_.slots = slots_.data();
        table_.perfect = true;
        for (std::int64_t e = query.bounds[0]; e < query.bounds[1]; ++e) {
            if (query.weights[e] == 0) continue;
            std::size_t at = std::uint32_t(query.keys[e] * table_.factor) >> table_.shift;
            for (; slots_[at].weight != 0; at = (at + 1) & (table_.size - 1)) table_.perfect = false;
            slots_[at] = {query.keys[e], query.weights[e]};
        }
    }

    const PostingIndex& index_;
    const Kernels& kernels_;
    std::optional<SparseMaxSim> maxsim_;
    QueryTable table_{};
    std::vector<QueryTable::Slot> slots_;
    std::vector<float> wide_;
};

// Entries of the mean document.
std::size_t mean_entries(const PostingIndex& index) {
    if (!index.documents) return 0;
    const std::int64_t rows = index.token_rows ? index.token_rows[index.documents] : std::int64_t(index.documents);
    return std::size_t(index.row_bounds[rows]) / index.documents;
}

// A query term: a posting of impact i adds (factor * i + constant) >> 8 units, no less than its weight in the score.
struct Term {
    std::int64_t run, last_run;
    std::uint32_t factor, constant;
};

struct Plan {
    std::vector<Term> terms;
    double unit = 1;
    std::int64_t postings = 0;
};

// A saturated impact is of a table that rises with the frequency and falls with the length.
std::uint32_t greatest_impact(const PostingIndex& index, std::int64_t run) {
    return index.saturation ? index.saturation[index.maxima[run] << 8] : index.maxima[run];
}

Plan make_plan(const PostingIndex& index, const PostingQuery& query) {
    struct Bound {
        std::size_t term;
        double per_impact, lowest;
    };
    std::vector<Bound> bounds;
    double total = 0;
    for (std::size_t q = 0; q < query.terms; ++q) {
        const std::uint32_t* at = std::lower_bound(index.keys, index.keys + index.terms, query.keys[q]);
        const double weight = query.gains ? 0 : query.rows.weights[std::size_t(query.rows.bounds[0]) + q];
        const double gain = query.gains ? query.gains[q] : std::max(weight, 0.0);
        const double loss = query.gains ? query.losses[q] : std::min(weight, 0.0);
        if ((gain == 0 && loss == 0) || at == index.keys + index.terms || *at != query.keys[q]) continue;
        const std::size_t t = std::size_t(at - index.keys);
        const double impact = index.impacts ? 255 : 1;
        bounds.push_back({t, gain * index.scales[t], loss * index.lows[t]});
        total += bounds.back().per_impact * impact + bounds.back().lowest;
    }
    if (total > FLT_MAX) throw std::invalid_argument("scores may leave the range of float32; scale the query down");
    Plan plan;
    if (total > 0) plan.unit = total / (65535.0 - most_rounding * double(std::min(bounds.size(), most_terms)) - 2);
    for (const Bound& b : bounds) {
        // At least one unit even of a weight that takes from the score: a sum above zero says that a term matched.
        const double factor = std::ceil(b.per_impact * 256 / plan.unit * above);
        const double constant = std::ceil(b.lowest / plan.unit * above) * 256;
        plan.terms.push_back({index.term_runs[b.term], index.term_runs[b.term + 1], std::uint32_t(factor),
                              std::uint32_t(factor >= 1 ? constant + 255 : std::max(constant, 256.0))});
        plan.postings += index.starts[index.term_runs[b.term + 1]] - index.starts[index.term_runs[b.term]];
    }
    return plan;
}

// One thread's walk over a range of windows.
class Walk {
  public:
    Walk(const PostingIndex& index, const PostingQuery& query, const Plan& plan)
        : index_(index), query_(query), plan_(plan), k_(kernels().postings), best_(std::min(query.candidates ? query.candidates : query.k, index.documents)),
          scorer_(index, query.rows), sums_(board(0)), found_(board(1)), row_cost_(entry_cost * (1 + mean_entries(index))) {}

    void every_allowed(std::size_t first, std::size_t last) {
        for (std::size_t d = first; d < last; ++d)
            if (!query_.allowed || query_.allowed[d]) rescore(d);
    }

    void windows(std::size_t first, std::size_t last) {
        std::vector<Term> terms = plan_.terms;
        for (Term& t : terms)
            t.run = std::lower_bound(index_.windows + t.run, index_.windows + t.last_run, first) - index_.windows;
        std::vector<Part> parts;
        for (std::size_t w = first; w < last; ++w) {
            parts.clear();
            for (Term& t : terms) {
                if (t.run == t.last_run || index_.windows[t.run] != w) continue;
                const std::uint32_t top = (t.factor * greatest_impact(index_, t.run) + t.constant) >> 8;
                parts.push_back({index_.starts[t.run], index_.starts[t.run + 1], t.factor, t.constant, top});
                ++t.run;
            }
            if (!parts.empty()) window(w, parts);
        }
    }

    const Best& best() const { return best_; }
    const PostingWork& work() const { return work_; }

  private:
    struct Part {
        std::int64_t begin, end;
        std::uint32_t factor, constant, top;
        std::size_t size() const { return std::size_t(end - begin); }
    };

    // The memory stays with the thread.
    static std::uint16_t* board(int which) {
        thread_local std::vector<std::uint16_t> boards[2];
        boards[which].resize(most_window);
        return boards[which].data();
    }

    // The least sum that a document of the k best can have.
    std::int64_t needed() const {
        const double kth = double(best_.kth()) / query_.alpha;
        if (!(kth > 0)) return 1;
        if (query_.candidates) return std::int64_t(std::min(kth, 1e6));
        return std::max<std::int64_t>(1, std::int64_t(std::min((kth * below - 3e-45) / plan_.unit, 1e6)));
    }

    void rescore(std::size_t document) {
        float score;
        ++work_.rescored;
        if (scorer_.score(document, &score)) best_.take({score, std::int64_t(document)});
    }

    void window(std::size_t number, std::vector<Part>& parts) {
        const std::size_t begin = number * index_.window, size = std::min(index_.window, index_.documents - begin);
        const bool* allowed = query_.allowed ? query_.allowed + begin : nullptr;
        std::int64_t rest = 0;
        std::size_t left = 0;
        for (const Part& p : parts) rest += p.top, left += p.size();
        if (rest < needed() || (allowed && !std::memchr(allowed, 1, size))) return;
        // Those that bound the most for each posting read.
        std::sort(parts.begin(), parts.end(), [](const Part& a, const Part& b) {
            return double(a.top) * double(b.size()) > double(b.top) * double(a.size());
        });
        std::memset(sums_, 0, index_.window * sizeof *sums_);
        std::size_t since = 0;
        const std::int64_t need = needed();
        for (const Part& p : parts) {
            add(p, begin);
            rest -= p.top, left -= p.size(), since += p.size();
            if (query_.candidates || rest >= need || since < size / 16 || left < size / 8) continue;
            since = 0;
            if (allowed) k_.keep_allowed(allowed, size, sums_);
            if (k_.count_from(sums_, size, std::uint16_t(need - rest)) * row_cost_ < left) break;
        }
        if (allowed) k_.keep_allowed(allowed, size, sums_);
        candidates(begin, size, rest);
    }

    void add(const Part& p, std::size_t begin) {
        work_.postings += std::int64_t(p.size());
        const std::uint8_t* impacts = index_.impacts ? index_.impacts + p.begin : nullptr;
        if (index_.saturation && p.factor)
            k_.add_saturated(index_.offsets + p.begin, impacts, p.size(), p.factor, index_.saturation,
                             index_.length_codes + begin, sums_);
        else
            k_.add(index_.offsets + p.begin, impacts, p.size(), p.factor, p.constant, sums_);
    }

    // Scores every document of the window whose sum and what is left reach the k-th score.
    void candidates(std::size_t begin, std::size_t size, std::int64_t rest) {
        std::int64_t taken = 65536;
        if (best_.missing()) {
            taken = greatest_with(best_.missing(), size);
            score_from(begin, size, taken, 65536, rest);
        }
        const std::int64_t least = needed() - rest;
        if (least < taken && least <= 65535) score_from(begin, size, std::max<std::int64_t>(1, least), taken, rest);
    }

    // The greatest sum that `count` documents have or exceed; 1 if fewer have any.
    std::int64_t greatest_with(std::size_t count, std::size_t size) const {
        std::int64_t low = 1, high = 65536;
        while (high - low > 1) {
            const std::int64_t middle = (low + high) / 2;
            (k_.count_from(sums_, size, std::uint16_t(middle)) >= count ? low : high) = middle;
        }
        return low;
    }

    void score_from(std::size_t begin, std::size_t size, std::int64_t least, std::int64_t under, std::int64_t rest) {
        const std::size_t count = k_.find_from(sums_, size, std::uint16_t(least), found_);
        for (std::size_t i = 0; i < count; ++i) {
            const std::int64_t sum = sums_[found_[i]];
            if (sum >= under || sum + rest < needed()) continue;
            if (query_.candidates) best_.take({float(sum), std::int64_t(begin + found_[i])});
            else rescore(begin + found_[i]);
        }
    }

    const PostingIndex& index_;
    const PostingQuery& query_;
    const Plan& plan_;
    const PostingKernels& k_;
    Best best_;
    Scorer scorer_;
    std::uint16_t *sums_, *found_;
    std::size_t row_cost_;
    PostingWork work_;
};

// The k best of candidates by their scores.
Best scored(const PostingIndex& index, const PostingQuery& query, const std::vector<Hit>& found, PostingWork* work) {
    Scorer scorer(index, query.rows);
    Best best(std::min(query.k, index.documents));
    for (const Hit& hit : found) {
        float score;
        if (scorer.score(std::size_t(hit.document), &score)) best.take({score, hit.document});
    }
    work->rescored += std::int64_t(found.size());
    return best;
}

}  // namespace

std::size_t posting_search(const PostingIndex& index, const PostingQuery& query, unsigned threads, std::int64_t* docs,
                           float* scores, PostingWork* work) {
    const Plan plan = make_plan(index, query);
    std::size_t count = index.documents;
    if (query.allowed) count = std::size_t(std::count(query.allowed, query.allowed + count, true));
    // Few documents are scored at once, from their rows.
    const bool rows = plan.terms.size() > most_terms ||
                      (query.allowed && count * (mean_entries(index) + 1) < std::size_t(plan.postings));
    PostingQuery wanted = query;
    if (rows) wanted.candidates = 0;
    const std::size_t windows = (index.documents + index.window - 1) / index.window;
    const std::size_t tasks = std::max<std::size_t>(1, std::min<std::size_t>(threads, windows));
    Best best(std::min(wanted.candidates ? wanted.candidates : query.k, index.documents));
    std::vector<std::vector<Hit>> hits(tasks);
    std::vector<PostingWork> works(tasks);
    parallel(plan.terms.empty() ? 0 : tasks, threads, [&](std::size_t task) {
        const std::size_t first = task * windows / tasks, last = (task + 1) * windows / tasks;
        Walk walk(index, wanted, plan);
        if (rows) walk.every_allowed(first * index.window, std::min(last * index.window, index.documents));
        else walk.windows(first, last);
        hits[task] = walk.best().hits(), works[task] = walk.work();
    });
    for (std::size_t task = 0; task < tasks; ++task) {
        for (const Hit& hit : hits[task]) best.take(hit);
        work->postings += works[task].postings, work->rescored += works[task].rescored;
    }
    if (wanted.candidates) best = scored(index, query, best.hits(), work);
    std::vector<Hit> order = best.hits();
    std::sort(order.begin(), order.end(), better);
    for (std::size_t i = 0; i < order.size(); ++i) docs[i] = order[i].document, scores[i] = order[i].score;
    return order.size();
}
