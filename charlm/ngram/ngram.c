/* Looking up n-grams, compiled for speed. Everything works without it: charlm/ngram/trie.py is its slow twin and has the
 * equation, and the tests compare the two.
 *
 * Whatever the arrays hold, nothing outside of them is read or written. Shapes: B batch, T time, N any number of places,
 * V vocabulary, n length of the longest n-grams. The contexts of a place are n - 1 numbers: those of the last 1, 2, ...
 * tokens, UNSEEN where nothing followed these in training.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#define UNSEEN (-1)

/* `Branches` in trie.py: contexts of one length, and their continuations. */
typedef struct {
    int64_t num_contexts, num_ngrams;
    const uint32_t *first;
    const float *gamma;
    const void *ids;
    const float *alpha;
} branches;

typedef struct {
    int64_t order, vocab_size, id_bytes;
    const branches *branches; /* of the contexts of 0 to order - 1 tokens */
} trie;

/* `Gate` in gate.py, and the least weight of either side. */
typedef struct {
    const double *bias, *slopes;
    double min_weight;
} gate;

typedef struct {
    int64_t begin, end;
} range;

/* The fingerprint of the ngram.c that this was built from. */
int64_t charlm_source(void) { return CHARLM_SOURCE; }

static inline int64_t id_at(const trie *t, const branches *b, int64_t ngram) {
    if (t->id_bytes == 1) return ((const uint8_t *)b->ids)[ngram];
    if (t->id_bytes == 2) return ((const uint16_t *)b->ids)[ngram];
    return ((const uint32_t *)b->ids)[ngram];
}

/* The continuations of a context; none if it is UNSEEN. */
static inline range continuations(const branches *b, int64_t context) {
    range none = {0, 0};
    if (context < 0 || context >= b->num_contexts) return none;
    range found = {b->first[context], b->first[context + 1]};
    return found.end <= b->num_ngrams ? found : none;
}

/* The number of the n-gram that continues a context of this length by a token; UNSEEN if there is none. */
static inline int64_t longer(const trie *t, int64_t length, int64_t context, int64_t id) {
    if (length == 0) return id >= 0 && id < t->vocab_size ? id : UNSEEN;
    const branches *b = t->branches + length;
    range left = continuations(b, context);
    const int64_t end = left.end;
    while (left.begin < left.end) {
        int64_t middle = (left.begin + left.end) / 2;
        if (id_at(t, b, middle) < id)
            left.begin = middle + 1;
        else
            left.end = middle;
    }
    return left.begin < end && id_at(t, b, left.begin) == id ? left.begin : UNSEEN;
}

/* Read ids (B, T) from a state, contexts (B, n - 1): the contexts (B, T, n - 1) behind each. */
void charlm_ngram_contexts(const trie *t, int64_t batch, int64_t steps, const int64_t *ids, const int64_t *state,
                           int64_t *contexts) {
    const int64_t size = t->order - 1;
    for (int64_t row = 0; row < batch; row++, state += size) {
        const int64_t *before = state;
        for (int64_t step = 0; step < steps; step++, ids++, before = contexts, contexts += size)
            for (int64_t length = 1; length <= size; length++) {
                int64_t ngram = longer(t, length - 1, length == 1 ? 0 : before[length - 2], *ids);
                range followed = continuations(t->branches + length, ngram);
                contexts[length - 1] = followed.begin < followed.end ? ngram : UNSEEN;
            }
    }
}

/* The probabilities (N,) of ids (N,), given the contexts (N, n - 1) before each. */
void charlm_ngram_probabilities(const trie *t, int64_t count, const int64_t *contexts, const int64_t *ids,
                                double *probabilities) {
    for (int64_t place = 0; place < count; place++, contexts += t->order - 1) {
        double probability = 1.0 / (double)t->vocab_size;
        for (int64_t length = 0; length < t->order; length++) {
            const branches *b = t->branches + length;
            int64_t context = length == 0 ? 0 : contexts[length - 1];
            if (context < 0 || context >= b->num_contexts) continue;
            int64_t ngram = longer(t, length, context, ids[place]);
            probability = (ngram >= 0 ? b->alpha[ngram] : 0.0) + b->gamma[context] * probability;
        }
        probabilities[place] = probability;
    }
}

/* The probabilities (N, V) of all types, given contexts (N, n - 1). */
void charlm_ngram_distributions(const trie *t, int64_t count, const int64_t *contexts, double *probabilities) {
    for (int64_t row = 0; row < count; row++, contexts += t->order - 1, probabilities += t->vocab_size) {
        double weight = 1.0; /* of what is still to be added: the product of the gammas of longer contexts */
        memset(probabilities, 0, (size_t)t->vocab_size * sizeof *probabilities);
        for (int64_t length = t->order - 1; length >= 0; length--) {
            const branches *b = t->branches + length;
            int64_t context = length == 0 ? 0 : contexts[length - 1];
            if (context < 0 || context >= b->num_contexts) continue;
            range all = continuations(b, context);
            for (int64_t ngram = all.begin; ngram < all.end; ngram++) {
                int64_t id = id_at(t, b, ngram);
                if (id < t->vocab_size) probabilities[id] += weight * b->alpha[ngram];
            }
            weight *= b->gamma[context];
        }
        for (int64_t id = 0; id < t->vocab_size; id++) probabilities[id] += weight / (double)t->vocab_size;
    }
}

/* From the logits (V) of a network and the probabilities (V) of an n-gram model, whose longest known context has
 * `matched` tokens, to the log-probabilities of their mixture, in the place of the latter; `gate.py` has the equation.
 * `shares` (V) is room for what the network expects. */
static void mix(const gate *g, int64_t vocab_size, int64_t matched, const float *logits, double *mixed, double *shares) {
    double largest = logits[0], total = 0, weighted = 0, ngram_entropy = 0;
    for (int64_t id = 1; id < vocab_size; id++) largest = logits[id] > largest ? logits[id] : largest;
    for (int64_t id = 0; id < vocab_size; id++) {
        const double below = logits[id] - largest, share = shares[id] = exp(below);
        total += share, weighted += share > 0 ? share * below : 0;
        ngram_entropy -= mixed[id] > 0 ? mixed[id] * log(mixed[id]) : 0;
    }
    const double entropy = log(total) - weighted / total;
    const double products[] = {entropy, ngram_entropy, entropy * entropy, entropy * ngram_entropy,
                               ngram_entropy * ngram_entropy};
    double x = g->bias[matched];
    for (int n = 0; n < 5; n++) x += g->slopes[n] * products[n];
    double weight = 1 / (1 + exp(-x));
    weight = weight < g->min_weight ? g->min_weight : weight > 1 - g->min_weight ? 1 - g->min_weight : weight;
    const double network_weight = (1 - weight) / total;
    for (int64_t id = 0; id < vocab_size; id++) mixed[id] = log(network_weight * shares[id] + weight * mixed[id]);
}

/* One token of each of B sequences: ids (B), the state (B, n - 1) before them and the logits (B, V) of a network for what
 * follows them -> the contexts (B, n - 1) behind them, and the log-probabilities (B, V) of the mixture. `room` has V
 * numbers. */
void charlm_ngram_mixed_step(const trie *t, const gate *g, int64_t batch, const int64_t *ids, const int64_t *state,
                             const float *logits, int64_t *contexts, double *mixed, double *room) {
    charlm_ngram_contexts(t, batch, 1, ids, state, contexts);
    charlm_ngram_distributions(t, batch, contexts, mixed);
    for (int64_t row = 0; row < batch; row++, contexts += t->order - 1) {
        int64_t matched = 0;
        for (int64_t length = 1; length < t->order; length++) matched += contexts[length - 1] >= 0;
        mix(g, t->vocab_size, matched, logits + row * t->vocab_size, mixed + row * t->vocab_size, room);
    }
}
