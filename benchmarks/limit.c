/* The limit: the kernel's arithmetic in C, for the compiler to make vectors of.
 *
 * cc -O3 -march=native -ffast-math -shared -fPIC limit.c -lm
 *
 * Heun's method or the Riccati step of `qifscan.dynamics.integrators`, the error estimate of every step, mean, standard
 * deviation and maximum of r (the maximum by the parabola through three values of 1/r), and the noise of
 * `qifscan.dynamics.noise`: Threefry-2x32 with 13 rounds, Box and Muller's normals, a pair for two steps of a variable, the
 * exact Ornstein-Uhlenbeck step.
 * So many points at a time that a block stays in the first-level cache; time runs inside.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#define LANES 64
#define INLINE static inline __attribute__((always_inline))
#define EACH for (int i = 0; i < LANES; i++)

enum { RATE, SOURCE, ETA, COUPLING, PULL, HELD, HELD_R, CIRCLE, B_REAL, B_IMAG, C_REAL, C_IMAG,
       R_MEAN, R_DECAY, R_GAIN, R_STD, V_MEAN, V_DECAY, V_GAIN, V_STD, CONSTANTS };

typedef float block[LANES];

INLINE uint32_t turn(uint32_t x, int by) { return (x << by) | (x >> (32 - by)); }

/* Two standard normals of 32 random bits and 32 more, by Box and Muller. */
INLINE void normals(uint32_t bits, uint32_t more, float *first, float *second) {
    const int32_t k = bits, turn = more;
    const int above = k < 0;
    const float small = ((float)(above ? ~k : k) + 0.5f) * 0x1p-32f;
    union { float number; int32_t bits; } part = {small};
    const float e = above ? 0.0f : (float)((part.bits >> 23) - 126);
    part.bits = (part.bits & 0x7FFFFF) | 0x3F000000;
    const float f = above ? -small : part.number - 1.0f;
    const float log = -2.00000003871f + f * (0.999987493546f + f * (-0.667323983513f + f * (0.486874880197f
        + f * (-0.529095167677f + f * (-0.363143295527f + f * (-2.41002779289f + f * (-3.2604233808f
        + f * -2.81591340573f)))))));
    const float radius = sqrtf(log * f - 1.38629436f * e);
    const float y = (float)(int32_t)((more << 2) | 2) * 0x1p-32f, z = y * y;
    const float across = y * (1.570796322f + z * (-0.6459634777f + z * (0.07968021765f + z * -0.004602149213f)));
    const float size = 0.9999999723f + z * (-1.233697007f + z * (0.2535985713f + z * -0.02040815839f));
    const float along = turn < 0 ? -size : size;
    const int swapped = (int32_t)(more << 1) < 0;
    *first = radius * (swapped ? across : along);
    *second = radius * (swapped ? along : across);
}

/* Two standard normals of a key and a counter. */
INLINE void drawn(uint32_t k0, uint32_t k1, uint32_t count, uint32_t stream, float *first, float *second) {
    static const int rotation[8] = {13, 15, 26, 6, 17, 29, 16, 24};
    const uint32_t schedule[3] = {k0, k1, k0 ^ k1 ^ 0x1BD11BDAu};
    uint32_t x0 = count + k0, x1 = stream + k1;
#pragma GCC unroll 13
    for (int n = 0; n < 13; n++) {
        x0 += x1;
        x1 = turn(x1, rotation[n % 8]) ^ x0;
        if (n % 4 == 3) {
            const int injection = n / 4 + 1;
            x0 += schedule[injection % 3];
            x1 += schedule[(injection + 1) % 3] + injection;
        }
    }
    normals(x0, x1, first, second);
}

INLINE float larger(float a, float b) { return a > b ? a : b; }
INLINE float lower(float a, float b) { return a < b ? a : b; }

INLINE void heun(float *r, float *v, float *estimate, const block *c, int i, float r_now, float r_later,
                 float v_now, float v_later, float dt) {
    const float r0 = *r, v0 = *v;
    const float k = (c[SOURCE][i] + 2 * r0 * v0 + r_now) * c[RATE][i];
    const float l = (v0 * v0 + c[ETA][i] + v_now + (c[COUPLING][i] - c[PULL][i] * r0) * r0) * c[RATE][i];
    const float r1 = r0 + dt * k, v1 = v0 + dt * l;
    const float m = (c[SOURCE][i] + 2 * r1 * v1 + r_later) * c[RATE][i];
    const float n = (v1 * v1 + c[ETA][i] + v_later + (c[COUPLING][i] - c[PULL][i] * r1) * r1) * c[RATE][i];
    *r = 0.5f * (r0 + (r1 + dt * m));
    *v = 0.5f * (v0 + (v1 + dt * n));
    const float x = r1 - *r, y = v1 - *v;
    const float size = larger(c[PULL][i] * r0 * r0 + v0 * v0, c[PULL][i] * *r * *r + *v * *v);
    *estimate = larger(*estimate, (c[PULL][i] * x * x + y * y) / size);
}

INLINE void flow(float *r, float *v, const block *c, int i) {
    const float x = c[CIRCLE][i] * *r, y = *v, real = x * x - y * y, imag = 2 * x * y;
    const float top_real = c[B_REAL][i] - (c[C_REAL][i] * real - c[C_IMAG][i] * imag);
    const float top_imag = c[B_IMAG][i] - (c[C_REAL][i] * imag + c[C_IMAG][i] * real);
    const float low_real = 1 + (c[C_REAL][i] * x - c[C_IMAG][i] * y), low_imag = c[C_REAL][i] * y + c[C_IMAG][i] * x;
    const float scale = 1 / (low_real * low_real + low_imag * low_imag);
    *r += (top_real * low_real + top_imag * low_imag) * scale / c[CIRCLE][i];
    *v += (top_imag * low_real - top_real * low_imag) * scale;
}

INLINE float kick(float *r, float *v, const block *c, int i, int noisy, float r_now, float v_now,
                  float time, float weight, float gradient) {
    const float outer = v_now - c[HELD][i], push = c[COUPLING][i] * *r + outer;
    const float bend = 2 * push * (c[COUPLING][i] * *r - outer);
    float shift = weight * time * push + gradient * time * time * time * bend;
    if (noisy & 2) {
        const float shift_r = weight * time * (r_now - c[HELD_R][i]);
        shift += 0.5f * weight * time * c[COUPLING][i] * shift_r;
        *r += shift_r;
    }
    *v += shift;
    return bend;
}

INLINE void riccati(float *r, float *v, float *estimate, const block *c, int i, int noisy, float r_now,
                    float r_later, float v_now, float v_later, float dt) {
    const float r0 = *r, v0 = *v, time = dt * c[RATE][i];
    const float r_half = 0.5f * (r_now + r_later), v_half = 0.5f * (v_now + v_later);
    kick(r, v, c, i, noisy, r_now, v_now, time, 1.0f / 6, 0);
    const float begun = *r;
    flow(r, v, c, i);
    const float middle = *r;
    const float bend = kick(r, v, c, i, noisy, r_half, v_half, time, 2.0f / 3, 1.0f / 72);
    const float kicked = *r;
    flow(r, v, c, i);
    const float late = *r;
    kick(r, v, c, i, noisy, r_later, v_later, time, 1.0f / 6, 0);
    const float bow = time / 6 * c[COUPLING][i] * (begun - (middle + kicked) + late);
    const float difference = fabsf(bow) + fabsf(time * time * time / 72 * bend);
    const float size = larger(c[PULL][i] * r0 * r0 + v0 * v0, c[PULL][i] * *r * *r + *v * *v);
    *estimate = larger(*estimate, difference * difference / size);
}

INLINE void run_block(int method, int noisy, int steps, float dt, const float *const *columns, const uint32_t *k0,
                      const uint32_t *k1, float *const *out) {
    block c[CONSTANTS], normal_r[2], normal_v[2], r, v, z_r, z_v, estimate, start, sum, squares, highest, rise;
    for (int n = 0; n < CONSTANTS; n++) memcpy(c[n], columns[n], sizeof(block));
    memcpy(r, columns[CONSTANTS], sizeof(block));
    memcpy(v, columns[CONSTANTS + 1], sizeof(block));
    EACH {
        float unused, at_r, at_v;
        drawn(k0[i], k1[i], UINT32_MAX >> 1, 0, &unused, &at_r);
        drawn(k0[i], k1[i], UINT32_MAX >> 1, 1, &unused, &at_v);
        z_r[i] = c[R_MEAN][i] + c[R_STD][i] * at_r;
        z_v[i] = c[V_MEAN][i] + c[V_STD][i] * at_v;
        start[i] = highest[i] = r[i];
        estimate[i] = sum[i] = squares[i] = 0;
        rise[i] = -1;
    }
    for (int n = 0; n < steps; n++) {
        if ((noisy & 2) && n % 2 == 0)
            EACH drawn(k0[i], k1[i], n / 2, 0, &normal_r[0][i], &normal_r[1][i]);
        if (noisy && n % 2 == 0)
            EACH drawn(k0[i], k1[i], n / 2, 1, &normal_v[0][i], &normal_v[1][i]);
        const float *const draw_r = normal_r[n % 2], *const draw_v = normal_v[n % 2];
#pragma GCC ivdep
        EACH {
            float r_now = z_r[i], v_now = z_v[i], r_later = r_now, v_later = v_now;
            if (noisy & 2) r_later = c[R_MEAN][i] + (r_now - c[R_MEAN][i]) * c[R_DECAY][i] + c[R_GAIN][i] * draw_r[i];
            if (noisy) v_later = c[V_MEAN][i] + (v_now - c[V_MEAN][i]) * c[V_DECAY][i] + c[V_GAIN][i] * draw_v[i];
            float x = r[i], y = v[i], largest = estimate[i];
            if (method) riccati(&x, &y, &largest, c, i, noisy, r_now, r_later, v_now, v_later, dt);
            else heun(&x, &y, &largest, c, i, r_now, r_later, v_now, v_later, dt);
            const float q = r[i], p = q - rise[i], fall = q - x, bend = p * fall + x * rise[i];
            const float bound = (p + p) * (x + x), whole = (bound + bound) * bend, across = (rise[i] - fall) * q;
            const float peak = q * (whole / (whole - across * across));
            const int turned = (lower(lower(rise[i], fall), bend) >= 0) & (bend <= bound);
            highest[i] = larger(highest[i], turned ? peak : x);
            rise[i] = -fall;
            sum[i] += x - start[i];
            squares[i] += (x - start[i]) * (x - start[i]);
            r[i] = x;
            v[i] = y;
            z_r[i] = r_later;
            z_v[i] = v_later;
            estimate[i] = largest;
        }
    }
    EACH {
        const float mean = sum[i] / steps;
        out[0][i] = start[i] + mean;
        out[1][i] = sqrtf(larger(squares[i] / steps - mean * mean, 0));
        out[2][i] = highest[i];
        out[3][i] = estimate[i];
    }
}

#define CASE(method, noisy) \
    if (wanted_method == method && wanted_noise == noisy) run_block(method, noisy, steps, dt, in, k0 + i, k1 + i, to)

/* `points` is a multiple of LANES; `noise` is 0, 1 (on v) or 3 (on both). `columns` holds the constants in the
 * order of the enum, then r and v at the start; `out` takes mean, standard deviation and maximum of r, and the
 * square of the largest estimate. */
void run(int wanted_method, int wanted_noise, int points, int steps, float dt, const float *const *columns,
         const uint32_t *k0, const uint32_t *k1, float *const *out) {
    for (int i = 0; i < points; i += LANES) {
        const float *in[CONSTANTS + 2];
        float *to[4];
        for (int n = 0; n < CONSTANTS + 2; n++) in[n] = columns[n] + i;
        for (int n = 0; n < 4; n++) to[n] = out[n] + i;
        CASE(0, 0);
        CASE(0, 1);
        CASE(0, 3);
        CASE(1, 0);
        CASE(1, 1);
        CASE(1, 3);
    }
}
