/* An LSTM network's step, compiled: the same equation as charlm/cells/lstm.py, for speed alone.
 *
 * Everything works without it (charlm/engine/stepper.py is its slow twin, and the tests hold the two together).
 * A matrix of N outputs and K inputs stands packed in panels of 32 outputs: in each, for every input in turn, the 32
 * weights that it is multiplied by; outputs are padded to whole panels. In bfloat16 inputs go in pairs.
 * Each output is summed over its inputs in their order, whatever the batch: a text's numbers do not depend on its
 * company. Shapes: B batch, V types, H units.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#define LANES 16
#define PANEL 32
#define ROWS 8
#define SCORED_AT_ONCE 16 /* rows whose logits stay in the cache */

typedef float vec __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(64), aligned(4), may_alias));
#define INLINE static inline __attribute__((always_inline))

/* One function, compiled for each generation of processors; the right one is chosen when the library is loaded. */
#if defined(__x86_64__) && defined(__linux__) && !defined(CHARLM_ONE_TARGET)
#define FOR_EVERY_PROCESSOR __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#define HAVE_BFLOAT16 1
#include <cpuid.h>
#include <immintrin.h>
#else
#define FOR_EVERY_PROCESSOR
#define HAVE_BFLOAT16 0
#endif

typedef struct {
    int64_t inputs, outputs; /* outputs padded to whole panels */
    const void *packed;      /* float, or bfloat16 */
    const float *bias;       /* of `outputs` numbers, or NULL */
} matrix;

typedef struct {
    int64_t input_size, hidden_size;
    matrix weights; /* of [x, h]; in the lowest layer of h alone, for its part of x is looked up in a table */
} layer;

typedef struct {
    int64_t num_layers, num_head_layers, vocab_size, embedding_size, widest;
    int64_t residual, bfloat16;
    matrix input; /* the lowest layer's weights of x, and its bias */
    const layer *layers;
    const matrix *head; /* products one after another, the last one giving the logits; all have a bias */
    const int64_t *head_sizes, *head_relu; /* each one's outputs without padding, and whether what is below 0 becomes 0 */
} network;

INLINE vec splat(float x) { return x - (vec){}; }

/* e^x to 2 units in the last place: 2^n * e^r with |r| <= log(2) / 2 (Cody & Waite 1980), by a polynomial. */
INLINE vec exponential(vec x) {
    const float shift = 12582912.0f; /* 1.5 * 2^23: adding it rounds to a whole number */
    x = (vec)(((ivec)x & (x < 88.0f)) | ((ivec)splat(88.0f) & ~(x < 88.0f)));
    x = (vec)(((ivec)x & (x > -87.0f)) | ((ivec)splat(-87.0f) & ~(x > -87.0f)));
    vec shifted = x * 1.44269504f + shift;
    vec n = shifted - shift;
    vec r = x - n * 0.693359375f + n * 2.12194440e-4f;
    vec p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    return p * (vec)(((ivec)shifted - (ivec)splat(shift) + 127) << 23);
}

INLINE vec sigmoid(vec x) { return 1.0f / (1.0f + exponential(-x)); }
INLINE vec hyperbolic_tangent(vec x) { return 1.0f - 2.0f / (1.0f + exponential(x + x)); }

INLINE vec load(const float *from, int64_t count) {
    vec result = {};
    memcpy(&result, from, (size_t)(count < LANES ? count : LANES) * sizeof(float));
    return result;
}

INLINE void store(float *to, vec value, int64_t count) {
    memcpy(to, &value, (size_t)(count < LANES ? count : LANES) * sizeof(float));
}

/* i, f, g, o (4, H) and c (H) -> new h and c. */
INLINE void lstm_gates(const float *gates, float *h, float *c, int64_t size, int64_t at, int64_t count) {
    vec i = sigmoid(load(gates + at, count)), f = sigmoid(load(gates + size + at, count));
    vec g = hyperbolic_tangent(load(gates + 2 * size + at, count)), o = sigmoid(load(gates + 3 * size + at, count));
    vec new_c = f * load(c + at, count) + i * g;
    store(c + at, new_c, count);
    store(h + at, o * hyperbolic_tangent(new_c), count);
}

FOR_EVERY_PROCESSOR
static void lstm_state(const float *gates, float *h, float *c, int64_t size) {
    int64_t at = 0;
    for (; at + LANES <= size; at += LANES) lstm_gates(gates, h, c, size, at, LANES);
    if (at < size) lstm_gates(gates, h, c, size, at, size - at);
}

/* y (rows, panels * 32) += x (rows, inputs) times so many panels, of which all sums stay in registers. */
INLINE void multiply_panels(const int rows, const int panels, const float *x, int64_t x_stride, const float *packed,
                            int64_t inputs, float *y, int64_t y_stride) {
    vec sum[2 * ROWS];
    const int wide = 2 * panels;
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < wide; v++) sum[r * wide + v] = *(const vec *)(y + r * y_stride + v * LANES);
    for (int64_t k = 0; k < inputs; k++)
        for (int v = 0; v < wide; v++) {
            vec w = *(const vec *)(packed + ((v / 2) * inputs + k) * PANEL + (v % 2) * LANES);
            for (int r = 0; r < rows; r++) sum[r * wide + v] += w * x[r * x_stride + k];
        }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < wide; v++) *(vec *)(y + r * y_stride + v * LANES) = sum[r * wide + v];
}

FOR_EVERY_PROCESSOR
static void multiply(const float *x, int64_t rows, int64_t inputs, const float *packed, int64_t outputs, float *y) {
    int64_t panel = 0, panels = outputs / PANEL;
    if (rows == 1) /* several panels at once, or each sum would wait for itself */
        for (; panel + 4 <= panels; panel += 4)
            multiply_panels(1, 4, x, inputs, packed + panel * inputs * PANEL, inputs, y + panel * PANEL, outputs);
    for (; panel < panels; panel++) {
        const float *w = packed + panel * inputs * PANEL;
        float *to = y + panel * PANEL;
        int64_t row = 0;
        for (; row + 8 <= rows; row += 8)
            multiply_panels(8, 1, x + row * inputs, inputs, w, inputs, to + row * outputs, outputs);
        for (; row + 4 <= rows; row += 4)
            multiply_panels(4, 1, x + row * inputs, inputs, w, inputs, to + row * outputs, outputs);
        for (; row < rows; row++)
            multiply_panels(1, 1, x + row * inputs, inputs, w, inputs, to + row * outputs, outputs);
    }
}

#if HAVE_BFLOAT16
#define FOR_BFLOAT16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))

int64_t charlm_has_bfloat16(void) {
    unsigned int a, b, c, d;
    return __builtin_cpu_supports("avx512f") && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & (1u << 5));
}

FOR_BFLOAT16 INLINE void multiply_panels_bfloat16(const int rows, const int panels, const uint32_t *x, int64_t pairs,
                                                  const uint32_t *packed, float *y, int64_t y_stride) {
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

/* The same with x and weights rounded to bfloat16, and sums in float. */
FOR_BFLOAT16
static void multiply_bfloat16(const float *x, int64_t rows, int64_t inputs, const uint32_t *packed, int64_t outputs,
                              float *y, uint16_t *rounded) {
    for (int64_t n = 0; n < rows * inputs; n++) {
        uint32_t bits;
        memcpy(&bits, x + n, sizeof bits);
        rounded[n] = (uint16_t)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
    }
    const uint32_t *pairs_of = (const uint32_t *)rounded;
    int64_t panel = 0, panels = outputs / PANEL, pairs = inputs / 2;
    if (rows == 1)
        for (; panel + 4 <= panels; panel += 4)
            multiply_panels_bfloat16(1, 4, pairs_of, pairs, packed + panel * pairs * PANEL, y + panel * PANEL, outputs);
    for (; panel < panels; panel++) {
        const uint32_t *w = packed + panel * pairs * PANEL;
        float *to = y + panel * PANEL;
        int64_t row = 0;
        for (; row + 8 <= rows; row += 8)
            multiply_panels_bfloat16(8, 1, pairs_of + row * pairs, pairs, w, to + row * outputs, outputs);
        for (; row + 4 <= rows; row += 4)
            multiply_panels_bfloat16(4, 1, pairs_of + row * pairs, pairs, w, to + row * outputs, outputs);
        for (; row < rows; row++)
            multiply_panels_bfloat16(1, 1, pairs_of + row * pairs, pairs, w, to + row * outputs, outputs);
    }
}
#else
int64_t charlm_has_bfloat16(void) { return 0; }

static void multiply_bfloat16(const float *x, int64_t rows, int64_t inputs, const uint32_t *packed, int64_t outputs,
                              float *y, uint16_t *rounded) {}
#endif

/* y (rows, outputs) = x (rows, inputs) W + bias; without a bias y is added to. */
static void linear(const network *net, const matrix *w, const float *x, int64_t rows, float *y, uint16_t *rounded) {
    for (int64_t row = 0; w->bias && row < rows; row++)
        memcpy(y + row * w->outputs, w->bias, (size_t)w->outputs * sizeof(float));
    if (net->bfloat16)
        multiply_bfloat16(x, rows, w->inputs, w->packed, w->outputs, y, rounded);
    else
        multiply(x, rows, w->inputs, w->packed, w->outputs, y);
}

/* What each of some embeddings x (rows, E) comes to in the lowest layer, bias and all: (rows, its padded gates).
 * `room` holds rows * widest floats. */
void charlm_project(const network *net, int64_t rows, const float *x, float *table, float *room) {
    float *joined = room;
    uint16_t *rounded = (uint16_t *)(joined + rows * net->input.inputs);
    memset(joined, 0, (size_t)(rows * net->input.inputs) * sizeof(float)); /* inputs may be padded */
    for (int64_t row = 0; row < rows; row++)
        memcpy(joined + row * net->input.inputs, x + row * net->embedding_size,
               (size_t)net->embedding_size * sizeof(float));
    linear(net, &net->input, joined, rows, table, rounded);
}

/* One layer: x (B, its input size) or, in the lowest, ids into a table; h and c (B, H) are changed. */
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
    for (int64_t b = 0; b < batch; b++) lstm_state(gates + b * outputs, h + b * size, c + b * size, size);
}

/* Some types' embeddings (rows, E) and what `charlm_project` makes of them. */
typedef struct {
    const float *embedding, *table;
} types;

/* The recurrent layers for one token of each of the first `rows` of B sequences: ids (B) into `known`, and state
 * (layers, 2, B, H), which is changed. The last layer's output stands at the beginning of `room` then; its size is
 * given back. */
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

/* The products after them, for some rows: x (B, x_size) -> logits (B, padded V). x is changed. */
static void head(const network *net, int64_t batch, float *x, int64_t x_size, float *logits, float *room) {
    float *joined = room, *y = joined + batch * net->widest;
    uint16_t *rounded = (uint16_t *)(y + batch * net->widest);
    for (int64_t n = 0;; n++) {
        const matrix *w = net->head + n;
        memset(joined, 0, (size_t)(batch * w->inputs) * sizeof(float));
        for (int64_t b = 0; b < batch; b++)
            memcpy(joined + b * w->inputs, x + b * x_size, (size_t)x_size * sizeof(float));
        const int last = n == net->num_head_layers - 1;
        linear(net, w, joined, batch, last ? logits : y, rounded);
        if (last) return;
        x_size = net->head_sizes[n];
        for (int64_t b = 0; b < batch; b++)
            for (int64_t i = 0; i < x_size; i++) {
                float value = y[b * w->outputs + i];
                x[b * x_size + i] = net->head_relu[n] && value < 0 ? 0 : value;
            }
    }
}

/* One token for each of B sequences: ids (B) and state (layers, 2, B, H), which is changed -> logits (B, padded V).
 * `room` holds 4 * B * widest floats. */
void charlm_step(const network *net, const float *embedding, const float *table, int64_t batch, const int64_t *ids,
                 float *state, float *logits, float *room) {
    const types known = {embedding, table};
    int64_t x_size = recurrent_layers(net, &known, batch, batch, ids, state, room);
    head(net, batch, room, x_size, logits, room + batch * net->widest);
}

/* log sum e^x over `count` numbers. */
FOR_EVERY_PROCESSOR
static double log_sum_exp(const float *x, int64_t count) {
    float largest = x[0], total = 0;
    for (int64_t i = 1; i < count; i++) largest = x[i] > largest ? x[i] : largest;
    vec sum = {};
    int64_t at = 0;
    for (; at + LANES <= count; at += LANES) sum += exponential(load(x + at, LANES) - largest);
    for (int lane = 0; lane < LANES; lane++) total += sum[lane];
    for (; at < count; at++) total += exponential(splat(x[at] - largest))[0];
    return (double)largest + log((double)total);
}

/* log p of each target, T tokens of B sequences: inputs (into embedding and table), targets and logprobs (T, B). A target
 * below 0 is padding; where all that follow are, too, nothing is computed: so the longest sequences should come first.
 * `room` holds 4 * B * widest + SCORED_AT_ONCE * padded V floats. */
void charlm_score(const network *net, const float *embedding, const float *table, int64_t batch, int64_t steps,
                  const int64_t *inputs, const int64_t *targets, float *state, double *logprobs, float *room) {
    const types known = {embedding, table};
    float *logits = room + 4 * batch * net->widest;
    const int64_t padded = net->head[net->num_head_layers - 1].outputs;
    for (int64_t t = 0; t < steps; t++) {
        int64_t going = batch;
        while (going > 0 && targets[t * batch + going - 1] < 0) going--;
        int64_t x_size = recurrent_layers(net, &known, going, batch, inputs + t * batch, state, room);
        for (int64_t first = 0; first < going; first += SCORED_AT_ONCE) {
            int64_t rows = going - first < SCORED_AT_ONCE ? going - first : SCORED_AT_ONCE;
            head(net, rows, room + first * x_size, x_size, logits, room + batch * net->widest);
            for (int64_t row = 0; row < rows; row++) {
                const int64_t at = t * batch + first + row;
                const float *of_row = logits + row * padded;
                if (targets[at] >= 0) logprobs[at] = of_row[targets[at]] - log_sum_exp(of_row, net->vocab_size);
            }
        }
    }
}
