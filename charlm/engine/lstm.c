/* An LSTM network's step, compiled for speed: the equation of charlm/cells/lstm.py.
 *
 * Everything works without it: charlm/engine/predictor.py is its slow twin, and the tests compare the two. The file
 * kernels.h has the arithmetic. It is compiled for each width of vectors that a CPU may have, and charlm_panel chooses
 * the widest one that this CPU has.
 * A matrix of N outputs and K inputs is packed in panels of two vectors of outputs. A panel holds, for each input in
 * turn, the weights that it is multiplied by. Outputs are padded to whole panels; in bfloat16 inputs come in pairs.
 * Each output is summed over its inputs in their order, whatever the batch, so the results for a text do not depend on
 * the rest of its batch. Shapes: B batch, T time, V vocabulary, E embedding, H hidden.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#define X86 1
#include <cpuid.h>
#include <immintrin.h>
#else
#define X86 0
#endif

#define INLINE static inline __attribute__((always_inline))
#define SCORED_AT_ONCE 16 /* rows, few enough that their logits stay in the cache */

/* What kernels.h defines for one width of vectors. */
typedef struct {
    int64_t panel;
    void (*multiply)(const float *x, int64_t rows, int64_t inputs, const float *packed, int64_t outputs, float *y);
    void (*lstm_state)(const float *gates, float *h, float *c, int64_t size);
    double (*log_sum_exp)(const float *x, int64_t count, double *entropy);
} kernels;

#define JOIN(a, b) a##b
#define NAMED(a, b) JOIN(a, b)

#if X86
#define LANES 16
#define ROWS 8
#define VARIANT _512
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")))
#include "kernels.h"
#define LANES 8
#define ROWS 4
#define VARIANT _256
#define TARGET __attribute__((target("avx2,fma")))
#include "kernels.h"
#endif
#define LANES 4
#define ROWS 4
#define VARIANT _128
#define TARGET
#include "kernels.h"

static const kernels *chosen = &kernels_128;

/* Choose the kernels for this CPU; the number of outputs in a panel. Must be called once, before anything else. */
int64_t charlm_panel(void) {
#if X86 && !defined(CHARLM_NARROW)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) chosen = &kernels_256;
#if !defined(CHARLM_MIDDLE)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        chosen = &kernels_512;
#endif
#endif
    return chosen->panel;
}

/* The fingerprint of the lstm.c and kernels.h that this was built from. */
int64_t charlm_source(void) { return CHARLM_SOURCE; }

typedef struct {
    int64_t inputs, outputs; /* outputs padded to whole panels */
    const void *packed;      /* float, or bfloat16 */
    const float *bias;       /* `outputs` numbers, or NULL */
} matrix;

typedef struct {
    int64_t input_size, hidden_size;
    matrix weights; /* for [x, h]; in the lowest layer only for h, since its products with x are in a table */
} layer;

typedef struct {
    int64_t num_layers, num_head_layers, vocab_size, embedding_size, widest;
    int64_t residual, bfloat16;
    matrix input; /* the lowest layer's weights for x, and its bias */
    const layer *layers;
    const matrix *head; /* products one after another, the last one gives the logits; all have a bias */
    const int64_t *head_sizes, *head_relu; /* of each product: outputs without padding; whether a ReLU follows */
} network;

#if X86
#define FOR_BFLOAT16 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")))
#define LANES 16
#define PANEL (2 * LANES)
#define ROWS 8
typedef uint32_t pair __attribute__((may_alias)); /* two numbers of bfloat16 side by side */

int64_t charlm_has_bfloat16(void) {
    unsigned int a, b, c, d;
    return charlm_panel() == PANEL && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & (1u << 5));
}

FOR_BFLOAT16 INLINE void multiply_panels_bfloat16(const int rows, const int panels, const pair *x, int64_t pairs,
                                                  const pair *packed, float *y, int64_t y_stride) {
    __m512 sum[2 * ROWS];
    const int wide = 2 * panels;
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < wide; v++) sum[r * wide + v] = _mm512_loadu_ps(y + r * y_stride + v * LANES);
    for (int64_t k = 0; k < pairs; k++)
        for (int v = 0; v < wide; v++) {
            __m512bh w = (__m512bh)_mm512_loadu_si512(packed + ((v / 2) * pairs + k) * PANEL + (v % 2) * LANES);
            for (int r = 0; r < rows; r++)
                sum[r * wide + v] =
                    _mm512_dpbf16_ps(sum[r * wide + v], w, (__m512bh)_mm512_set1_epi32((int)x[r * pairs + k]));
        }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < wide; v++) _mm512_storeu_ps(y + r * y_stride + v * LANES, sum[r * wide + v]);
}

/* y (rows, outputs) += x (rows, inputs) W in bfloat16, with sums in float. `rounded` has room for x. */
FOR_BFLOAT16
static void multiply_bfloat16(const float *x, int64_t rows, int64_t inputs, const pair *packed, int64_t outputs,
                              float *y, uint16_t *rounded) {
    for (int64_t n = 0; n < rows * inputs; n++) {
        uint32_t bits;
        memcpy(&bits, x + n, sizeof bits);
        const int is_number = (bits & 0x7FFFFFFF) <= 0x7F800000;
        rounded[n] = is_number ? (uint16_t)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16) : 0x7FC0;
    }
    const pair *x_pairs = (const pair *)rounded;
    int64_t panel = 0, panels = outputs / PANEL, pairs = inputs / 2;
    if (rows == 1)
        for (; panel + 4 <= panels; panel += 4)
            multiply_panels_bfloat16(1, 4, x_pairs, pairs, packed + panel * pairs * PANEL, y + panel * PANEL, outputs);
    for (; panel < panels; panel++) {
        const pair *w = packed + panel * pairs * PANEL;
        float *to = y + panel * PANEL;
        int64_t row = 0;
        for (; row + ROWS <= rows; row += ROWS)
            multiply_panels_bfloat16(ROWS, 1, x_pairs + row * pairs, pairs, w, to + row * outputs, outputs);
        for (; row + 2 <= rows; row += 2)
            multiply_panels_bfloat16(2, 1, x_pairs + row * pairs, pairs, w, to + row * outputs, outputs);
        for (; row < rows; row++)
            multiply_panels_bfloat16(1, 1, x_pairs + row * pairs, pairs, w, to + row * outputs, outputs);
    }
}
#else
typedef uint32_t pair;

int64_t charlm_has_bfloat16(void) { return 0; }

static void multiply_bfloat16(const float *x, int64_t rows, int64_t inputs, const pair *packed, int64_t outputs,
                              float *y, uint16_t *rounded) {
    (void)x, (void)rows, (void)inputs, (void)packed, (void)outputs, (void)y, (void)rounded;
}
#endif

/* y (rows, outputs) = x (rows, inputs) W + bias; without a bias, y += x W. */
static void linear(const network *net, const matrix *w, const float *x, int64_t rows, float *y, uint16_t *rounded) {
    for (int64_t row = 0; w->bias && row < rows; row++)
        memcpy(y + row * w->outputs, w->bias, (size_t)w->outputs * sizeof(float));
    if (net->bfloat16)
        multiply_bfloat16(x, rows, w->inputs, w->packed, w->outputs, y, rounded);
    else
        chosen->multiply(x, rows, w->inputs, w->packed, w->outputs, y);
}

/* Embeddings of some types (count, E), and the lowest layer's products with them, plus bias (count, padded gates). */
typedef struct {
    int64_t count;
    const float *embedding;
    float *table;
} types;

/* Fill the table of some types. `room` holds 2 * count * widest floats. */
int64_t charlm_project(const network *net, types *known, float *room) {
    const int64_t inputs = net->input.inputs, size = net->embedding_size;
    memset(room, 0, (size_t)(known->count * inputs) * sizeof(float)); /* inputs may be padded */
    for (int64_t row = 0; row < known->count; row++)
        memcpy(room + row * inputs, known->embedding + row * size, (size_t)size * sizeof(float));
    linear(net, &net->input, room, known->count, known->table, (uint16_t *)(room + known->count * inputs));
    return 1;
}

/* One step of a layer: x (B, input size), or in the lowest layer ids of rows in a table; h and c (B, H) are updated. */
static void lstm_step(const network *net, const layer *l, int64_t batch, const float *x, const int64_t *ids,
                      const float *table, float *h, float *c, float *joined, float *gates, uint16_t *rounded) {
    const int64_t size = l->hidden_size, inputs = l->weights.inputs, outputs = l->weights.outputs;
    memset(joined, 0, (size_t)(batch * inputs) * sizeof(float));
    for (int64_t b = 0; b < batch; b++) {
        float *row = joined + b * inputs;
        if (table)
            memcpy(gates + b * outputs, table + ids[b] * outputs, (size_t)outputs * sizeof(float));
        else
            memcpy(row, x + b * l->input_size, (size_t)l->input_size * sizeof(float));
        memcpy(row + (table ? 0 : l->input_size), h + b * size, (size_t)size * sizeof(float));
    }
    linear(net, &l->weights, joined, batch, gates, rounded);
    for (int64_t b = 0; b < batch; b++) chosen->lstm_state(gates + b * outputs, h + b * size, c + b * size, size);
}

/* Whether all ids are from `least` up to below `end`. */
static int are_between(const int64_t *ids, int64_t count, int64_t least, int64_t end) {
    for (int64_t i = 0; i < count; i++)
        if (ids[i] < least || ids[i] >= end) return 0;
    return 1;
}

/* The recurrent layers for one token of each of the first `rows` of B sequences: ids (B) are rows of `known`, and state
 * (layers, 2, B, H) is updated. Writes the last layer's output to the beginning of `room`, and returns its size. */
static int64_t recurrent_layers(const network *net, const types *known, int64_t rows, int64_t batch, const int64_t *ids,
                                float *state, float *room) {
    float *x = room, *joined = x + rows * net->widest, *gates = joined + rows * net->widest;
    uint16_t *rounded = (uint16_t *)(gates + rows * net->widest);
    int64_t x_size = net->embedding_size;
    for (int64_t b = 0; b < rows; b++)
        memcpy(x + b * x_size, known->embedding + ids[b] * x_size, (size_t)x_size * sizeof(float));
    for (int64_t n = 0; n < net->num_layers; n++) {
        const layer *l = net->layers + n;
        const int64_t size = l->hidden_size;
        float *h = state + 2 * n * batch * size, *c = h + batch * size;
        lstm_step(net, l, rows, x, ids, n ? NULL : known->table, h, c, joined, gates, rounded);
        const int add = net->residual && x_size == size;
        for (int64_t i = 0; i < rows * size; i++) x[i] = add ? x[i] + h[i] : h[i];
        x_size = size;
    }
    return x_size;
}

/* The head, after the recurrent layers: x (B, x_size) -> logits (B, padded V). `room` holds 3 * B * widest floats. */
static void head(const network *net, int64_t batch, const float *x, int64_t x_size, float *logits, float *room) {
    float *joined = room, *y = joined + batch * net->widest;
    uint16_t *rounded = (uint16_t *)(y + batch * net->widest);
    int64_t stride = x_size;
    for (int64_t n = 0;; n++) {
        const matrix *w = net->head + n;
        const int last = n == net->num_head_layers - 1;
        memset(joined, 0, (size_t)(batch * w->inputs) * sizeof(float)); /* inputs may be padded */
        for (int64_t b = 0; b < batch; b++)
            memcpy(joined + b * w->inputs, x + b * stride, (size_t)x_size * sizeof(float));
        linear(net, w, joined, batch, last ? logits : y, rounded);
        if (last) return;
        for (int64_t i = 0; net->head_relu[n] && i < batch * w->outputs; i++) y[i] = y[i] < 0 ? 0 : y[i];
        x = y, x_size = net->head_sizes[n], stride = w->outputs;
    }
}

/* One token of each of B sequences: ids (B) are rows of `known`, and state (layers, 2, B, H) is updated -> logits (B,
 * padded V). `room` holds 4 * B * widest floats. Returns 0 if an id is out of range, else 1. */
int64_t charlm_step(const network *net, const types *known, int64_t batch, const int64_t *ids, float *state,
                    float *logits, float *room) {
    if (!are_between(ids, batch, 0, known->count)) return 0;
    int64_t x_size = recurrent_layers(net, known, batch, batch, ids, state, room);
    head(net, batch, room, x_size, logits, room + batch * net->widest);
    return 1;
}

/* How many floats `room` must hold in charlm_score. */
int64_t charlm_scoring_room(const network *net, int64_t batch) {
    return 4 * batch * net->widest + SCORED_AT_ONCE * net->head[net->num_head_layers - 1].outputs;
}

/* log p of each target, and the entropy of what it is drawn from, for T tokens of B sequences: inputs (rows of
 * `known`), targets, logprobs and entropies (T, B). A target below 0 is padding. Sequences at the end of the batch that
 * have only padding left are skipped, so the longest ones should come first. Returns 0 if an id is out of range, else
 * 1. */
int64_t charlm_score(const network *net, const types *known, int64_t batch, int64_t steps, const int64_t *inputs,
                     const int64_t *targets, float *state, double *logprobs, double *entropies, float *room) {
    if (!are_between(inputs, steps * batch, 0, known->count)) return 0;
    if (!are_between(targets, steps * batch, INT64_MIN, net->vocab_size)) return 0;
    float *logits = room + 4 * batch * net->widest;
    const int64_t padded = net->head[net->num_head_layers - 1].outputs;
    for (int64_t t = 0; t < steps; t++) {
        int64_t going = batch;
        while (going > 0 && targets[t * batch + going - 1] < 0) going--;
        int64_t x_size = recurrent_layers(net, known, going, batch, inputs + t * batch, state, room);
        for (int64_t first = 0; first < going; first += SCORED_AT_ONCE) {
            int64_t rows = going - first < SCORED_AT_ONCE ? going - first : SCORED_AT_ONCE;
            head(net, rows, room + first * x_size, x_size, logits, room + batch * net->widest);
            for (int64_t row = 0; row < rows; row++) {
                const int64_t at = t * batch + first + row;
                const float *of_row = logits + row * padded;
                if (targets[at] < 0) continue;
                logprobs[at] = of_row[targets[at]] - chosen->log_sum_exp(of_row, net->vocab_size, entropies + at);
            }
        }
    }
    return 1;
}
