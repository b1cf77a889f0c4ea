/* The arithmetic, for vectors of LANES numbers. lstm.c includes this once for each width, with TARGET the attribute for
 * CPUs that have it, VARIANT the suffix of its names, and ROWS how many rows' sums fit into the registers. */
#define PANEL (2 * LANES)
#define NAME(a) NAMED(a, VARIANT)
#define vec NAME(vec)
#define ivec NAME(ivec)

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

TARGET INLINE vec NAME(splat)(float x) { return x - (vec){}; }

/* The first number where the mask is set, else the second. */
TARGET INLINE vec NAME(select)(ivec mask, vec first, vec second) {
    return (vec)((mask & (ivec)first) | (~mask & (ivec)second));
}

/* e^x to 2 units in the last place: 2^n * e^r with |r| <= log(2) / 2 (Cody & Waite 1980), by a polynomial. NaN
 * stays NaN. */
TARGET INLINE vec NAME(exponential)(vec x) {
    const float shift = 12582912.0f; /* 1.5 * 2^23: adding it rounds to a whole number */
    x = NAME(select)(x > 88.0f, NAME(splat)(88.0f), x);
    x = NAME(select)(x < -87.0f, NAME(splat)(-87.0f), x);
    vec shifted = x * 1.44269504f + shift;
    vec n = shifted - shift;
    vec r = x - n * 0.693359375f + n * 2.12194440e-4f;
    vec p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    return p * (vec)(((ivec)shifted - (ivec)NAME(splat)(shift) + 127) << 23);
}

TARGET INLINE vec NAME(sigmoid)(vec x) { return 1.0f / (1.0f + NAME(exponential)(-x)); }
TARGET INLINE vec NAME(hyperbolic_tangent)(vec x) { return 1.0f - 2.0f / (1.0f + NAME(exponential)(x + x)); }

TARGET INLINE vec NAME(load)(const float *from, int64_t count) {
    vec result = {};
    memcpy(&result, from, (size_t)(count < LANES ? count : LANES) * sizeof(float));
    return result;
}

TARGET INLINE void NAME(store)(float *to, vec value, int64_t count) {
    memcpy(to, &value, (size_t)(count < LANES ? count : LANES) * sizeof(float));
}

/* Gates i, f, g, o (4, H) and c (H) -> new h and c (H), for `count` units from `at` on. */
TARGET INLINE void NAME(lstm_gates)(const float *gates, float *h, float *c, int64_t size, int64_t at, int64_t count) {
    vec i = NAME(sigmoid)(NAME(load)(gates + at, count)), f = NAME(sigmoid)(NAME(load)(gates + size + at, count));
    vec g = NAME(hyperbolic_tangent)(NAME(load)(gates + 2 * size + at, count));
    vec o = NAME(sigmoid)(NAME(load)(gates + 3 * size + at, count));
    vec new_c = f * NAME(load)(c + at, count) + i * g;
    NAME(store)(c + at, new_c, count);
    NAME(store)(h + at, o * NAME(hyperbolic_tangent)(new_c), count);
}

TARGET static void NAME(lstm_state)(const float *gates, float *h, float *c, int64_t size) {
    int64_t at = 0;
    for (; at + LANES <= size; at += LANES) NAME(lstm_gates)(gates, h, c, size, at, LANES);
    if (at < size) NAME(lstm_gates)(gates, h, c, size, at, size - at);
}

/* y (rows, panels * PANEL) += x (rows, inputs) times some panels, few enough that all sums stay in registers. */
TARGET INLINE void NAME(multiply_panels)(const int rows, const int panels, const float *x, int64_t inputs,
                                         const float *packed, float *y, int64_t y_stride) {
    vec sum[2 * ROWS];
    const int wide = 2 * panels;
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < wide; v++) sum[r * wide + v] = *(const vec *)(y + r * y_stride + v * LANES);
    for (int64_t k = 0; k < inputs; k++)
        for (int v = 0; v < wide; v++) {
            vec w = *(const vec *)(packed + ((v / 2) * inputs + k) * PANEL + (v % 2) * LANES);
            for (int r = 0; r < rows; r++) sum[r * wide + v] += w * x[r * inputs + k];
        }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < wide; v++) *(vec *)(y + r * y_stride + v * LANES) = sum[r * wide + v];
}

TARGET static void NAME(multiply)(const float *x, int64_t rows, int64_t inputs, const float *packed, int64_t outputs,
                                  float *y) {
    int64_t panel = 0, panels = outputs / PANEL;
    if (rows == 1) /* several panels at once, since each sum waits for its previous value */
        for (; panel + 4 <= panels; panel += 4)
            NAME(multiply_panels)(1, 4, x, inputs, packed + panel * inputs * PANEL, y + panel * PANEL, outputs);
    for (; panel < panels; panel++) {
        const float *w = packed + panel * inputs * PANEL;
        float *to = y + panel * PANEL;
        int64_t row = 0;
        for (; row + ROWS <= rows; row += ROWS)
            NAME(multiply_panels)(ROWS, 1, x + row * inputs, inputs, w, to + row * outputs, outputs);
        for (; row + 2 <= rows; row += 2)
            NAME(multiply_panels)(2, 1, x + row * inputs, inputs, w, to + row * outputs, outputs);
        for (; row < rows; row++)
            NAME(multiply_panels)(1, 1, x + row * inputs, inputs, w, to + row * outputs, outputs);
    }
}

/* log of the sum of e^x over `count` logits x, and the entropy of the probabilities that they stand for, in nats. */
TARGET static double NAME(log_sum_exp)(const float *x, int64_t count, double *entropy) {
    float largest = x[0], total = 0, weighted = 0;
    for (int64_t i = 1; i < count; i++) largest = x[i] > largest ? x[i] : largest;
    vec sums = {}, weighted_sums = {};
    int64_t at = 0;
    for (; at + LANES <= count; at += LANES) {
        const vec below = NAME(load)(x + at, LANES) - largest, weights = NAME(exponential)(below);
        sums += weights, weighted_sums += weights * below;
    }
    for (int lane = 0; lane < LANES; lane++) total += sums[lane], weighted += weighted_sums[lane];
    for (; at < count; at++) {
        const float below = x[at] - largest, weight = NAME(exponential)(NAME(splat)(below))[0];
        total += weight, weighted += weight * below;
    }
    *entropy = log((double)total) - (double)weighted / total;
    return (double)largest + log((double)total);
}

static const kernels NAME(kernels) = {PANEL, NAME(multiply), NAME(lstm_state), NAME(log_sum_exp)};

#undef PANEL
#undef NAME
#undef vec
#undef ivec
#undef LANES
#undef ROWS
#undef VARIANT
#undef TARGET
