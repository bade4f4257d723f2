/* The codecs' inner loops in C99, with nothing of Python in them: words.py and differences.py are what they must equal,
 * byte for byte, and explain them. Little-endian machines only. No function allocates, and none keeps a pointer.
 *
 * The caller guarantees the sizes: a block has `words` words of `width` bytes, each plane `words` bytes, `counts` 256
 * numbers. Every function but the first returns 0, or 1 for arguments it was not made for, having written nothing.
 */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(_WIN32)
#define PUBLIC __declspec(dllexport)
#else
#define PUBLIC __attribute__((visibility("default")))
#endif

enum { ABI = 1, STRETCH = 1024, GROUPS = 256 };

/* Blocks may start at any address: words are read and written through memcpy, which compilers turn into plain moves. */
static inline uint16_t get16(const uint8_t *block, size_t i) { uint16_t w; memcpy(&w, block + 2 * i, 2); return w; }
static inline uint32_t get32(const uint8_t *block, size_t i) { uint32_t w; memcpy(&w, block + 4 * i, 4); return w; }
static inline uint64_t get64(const uint8_t *block, size_t i) { uint64_t w; memcpy(&w, block + 8 * i, 8); return w; }
static inline void put16(uint8_t *block, size_t i, uint16_t w) { memcpy(block + 2 * i, &w, 2); }
static inline void put32(uint8_t *block, size_t i, uint32_t w) { memcpy(block + 4 * i, &w, 4); }
static inline void put64(uint8_t *block, size_t i, uint64_t w) { memcpy(block + 8 * i, &w, 8); }

PUBLIC uint32_t ptm_kernel_abi(void) { return ABI; }

/* Splitting and joining -------------------------------------------------------------------------------------------- */

static void split16(const uint8_t *restrict block, uint8_t *restrict p0, uint8_t *restrict p1, size_t words) {
    for (size_t i = 0; i < words; i++) {
        uint16_t w = get16(block, i);
        p0[i] = (uint8_t)(w >> 8);
        p1[i] = (uint8_t)w;
    }
}

static void split16_rotated(const uint8_t *restrict block, uint8_t *restrict p0, uint8_t *restrict p1, size_t words) {
    for (size_t i = 0; i < words; i++) {
        uint16_t w = get16(block, i);
        w = (uint16_t)(w << 1 | w >> 15);
        p0[i] = (uint8_t)(w >> 8);
        p1[i] = (uint8_t)w;
    }
}

static void split32(const uint8_t *restrict block, uint8_t *const *planes, size_t words) {
    uint8_t *restrict p0 = planes[0], *restrict p1 = planes[1], *restrict p2 = planes[2], *restrict p3 = planes[3];
    for (size_t i = 0; i < words; i++) {
        uint32_t w = get32(block, i);
        p0[i] = (uint8_t)(w >> 24);
        p1[i] = (uint8_t)(w >> 16);
        p2[i] = (uint8_t)(w >> 8);
        p3[i] = (uint8_t)w;
    }
}

static void split32_rotated(const uint8_t *restrict block, uint8_t *const *planes, size_t words) {
    uint8_t *restrict p0 = planes[0], *restrict p1 = planes[1], *restrict p2 = planes[2], *restrict p3 = planes[3];
    for (size_t i = 0; i < words; i++) {
        uint32_t w = get32(block, i);
        p0[i] = (uint8_t)(w >> 23);
        p1[i] = (uint8_t)(w >> 15 & 0xfe) | (uint8_t)(w >> 31);
        p2[i] = (uint8_t)(w >> 8);
        p3[i] = (uint8_t)w;
    }
}

static void split64(const uint8_t *restrict block, uint8_t *const *planes, size_t words) {
    for (size_t start = 0; start < words; start += STRETCH) {
        size_t stop = words - start < STRETCH ? words : start + STRETCH;
        for (int plane = 0; plane < 8; plane++) {
            uint8_t *restrict into = planes[plane];
            for (size_t i = start; i < stop; i++)
                into[i] = block[8 * i + (size_t)(7 - plane)];
        }
    }
}

static void join16(const uint8_t *restrict p0, const uint8_t *restrict p1, uint8_t *restrict block, size_t words) {
    for (size_t i = 0; i < words; i++)
        put16(block, i, (uint16_t)(p0[i] << 8 | p1[i]));
}

static void join16_rotated(const uint8_t *restrict p0, const uint8_t *restrict p1, uint8_t *restrict block,
                           size_t words) {
    for (size_t i = 0; i < words; i++) {
        uint16_t w = (uint16_t)(p0[i] << 8 | p1[i]);
        put16(block, i, (uint16_t)(w >> 1 | w << 15));
    }
}

static void join32(const uint8_t *const *planes, uint8_t *restrict block, size_t words, int rotated) {
    const uint8_t *restrict p0 = planes[0], *restrict p1 = planes[1], *restrict p2 = planes[2],
                  *restrict p3 = planes[3];
    for (size_t i = 0; i < words; i++) {
        uint16_t upper = (uint16_t)(p0[i] << 8 | p1[i]), lower = (uint16_t)(p2[i] << 8 | p3[i]);
        if (rotated)
            upper = (uint16_t)(upper >> 1 | upper << 15);
        put32(block, i, (uint32_t)upper << 16 | lower);
    }
}

static void join64(const uint8_t *const *planes, uint8_t *restrict block, size_t words) {
    for (size_t i = 0; i < words; i++) {
        uint64_t w = 0;
        for (int plane = 0; plane < 8; plane++)
            w = w << 8 | planes[plane][i];
        put64(block, i, w);
    }
}

PUBLIC int ptm_split(const uint8_t *block, uint8_t *const *planes, size_t words, uint32_t width, uint32_t rotated) {
    if (width == 2 && rotated)
        split16_rotated(block, planes[0], planes[1], words);
    else if (width == 2)
        split16(block, planes[0], planes[1], words);
    else if (width == 4 && rotated)
        split32_rotated(block, planes, words);
    else if (width == 4)
        split32(block, planes, words);
    else if (width == 8 && !rotated)
        split64(block, planes, words);
    else
        return 1;
    return 0;
}

PUBLIC int ptm_join(const uint8_t *const *planes, uint8_t *block, size_t words, uint32_t width, uint32_t rotated) {
    if (width == 2 && rotated)
        join16_rotated(planes[0], planes[1], block, words);
    else if (width == 2)
        join16(planes[0], planes[1], block, words);
    else if (width == 4 && rotated)
        join32(planes, block, words, 1);
    else if (width == 4)
        join32(planes, block, words, 0);
    else if (width == 8 && !rotated)
        join64(planes, block, words);
    else
        return 1;
    return 0;
}

/* Differences ------------------------------------------------------------------------------------------------------ */

#define ALL16 UINT16_MAX
#define TOP16 0x8000u
#define TOP32 0x80000000u

/* All ones when the top bit of a word is set, else zero. */
static inline uint16_t sign16(uint16_t w) { return (uint16_t)(0u - (w >> 15)); }
static inline uint32_t sign32(uint32_t w) { return 0u - (w >> 31); }

static inline uint16_t rise16(uint16_t w) { return (uint16_t)(w ^ (sign16(w) | TOP16)); }
static inline uint32_t rise32(uint32_t w) { return w ^ (sign32(w) | TOP32); }

static inline uint16_t step16(uint16_t data, uint16_t base) {
    uint16_t d = (uint16_t)(rise16(data) - rise16(base));
    return (uint16_t)(d << 1 ^ sign16(d));
}

static inline uint32_t step32(uint32_t data, uint32_t base) {
    uint32_t d = rise32(data) - rise32(base);
    return d << 1 ^ sign32(d);
}

static inline uint16_t walk16(uint16_t step, uint16_t base) {
    uint16_t risen = (uint16_t)(rise16(base) + (uint16_t)(step >> 1 ^ (uint16_t)(0u - (step & 1u))));
    return (uint16_t)(risen ^ ((uint16_t)~sign16(risen) | TOP16));
}

static inline uint32_t walk32(uint32_t step, uint32_t base) {
    uint32_t risen = rise32(base) + (step >> 1 ^ (0u - (step & 1u)));
    return risen ^ (~sign32(risen) | TOP32);
}

/* Where the words of each exponent start, once all are in order. */
static void find_groups(const uint8_t *base, size_t words, uint32_t width, uint32_t shift, uint32_t mask,
                        size_t starts[GROUPS]) {
    size_t counts[4][GROUPS] = {{0}};
    if (width == 2)
        for (size_t i = 0; i < words; i++)
            counts[i & 3][get16(base, i) >> shift & mask]++;
    else
        for (size_t i = 0; i < words; i++)
            counts[i & 3][get32(base, i) >> shift & mask]++;
    size_t start = 0;
    for (int group = 0; group < GROUPS; group++) {
        starts[group] = start;
        start += counts[0][group] + counts[1][group] + counts[2][group] + counts[3][group];
    }
}

static void subtract16(const uint8_t *data, const uint8_t *base, uint8_t *const *planes, size_t words, uint32_t shift,
                       uint32_t mask, size_t *groups) {
    uint16_t steps[STRETCH], exponents[STRETCH];
    for (size_t start = 0; start < words; start += STRETCH) {
        size_t here = words - start < STRETCH ? words - start : STRETCH;
        for (size_t i = 0; i < here; i++) {
            uint16_t b = get16(base, start + i);
            steps[i] = step16(get16(data, start + i), b);
            exponents[i] = (uint16_t)(b >> shift & mask);
        }
        if (!groups) {
            split16((const uint8_t *)steps, planes[0] + start, planes[1] + start, here);
            continue;
        }
        for (size_t i = 0; i < here; i++) {
            size_t at = groups[exponents[i]]++;
            planes[0][at] = (uint8_t)(steps[i] >> 8);
            planes[1][at] = (uint8_t)steps[i];
        }
    }
}

static void subtract32(const uint8_t *data, const uint8_t *base, uint8_t *const *planes, size_t words, uint32_t shift,
                       uint32_t mask, size_t *groups) {
    uint32_t steps[STRETCH], exponents[STRETCH];
    for (size_t start = 0; start < words; start += STRETCH) {
        size_t here = words - start < STRETCH ? words - start : STRETCH;
        uint8_t *into[4] = {planes[0] + start, planes[1] + start, planes[2] + start, planes[3] + start};
        for (size_t i = 0; i < here; i++) {
            uint32_t b = get32(base, start + i);
            steps[i] = step32(get32(data, start + i), b);
            exponents[i] = b >> shift & mask;
        }
        if (!groups) {
            split32((const uint8_t *)steps, into, here);
            continue;
        }
        for (size_t i = 0; i < here; i++) {
            size_t at = groups[exponents[i]]++;
            planes[0][at] = (uint8_t)(steps[i] >> 24);
            planes[1][at] = (uint8_t)(steps[i] >> 16);
            planes[2][at] = (uint8_t)(steps[i] >> 8);
            planes[3][at] = (uint8_t)steps[i];
        }
    }
}

static void add16(const uint8_t *const *planes, const uint8_t *base, uint8_t *data, size_t words, uint32_t shift,
                  uint32_t mask, size_t *groups) {
    uint16_t steps[STRETCH], origins[STRETCH];
    for (size_t start = 0; start < words; start += STRETCH) {
        size_t here = words - start < STRETCH ? words - start : STRETCH;
        memcpy(origins, base + 2 * start, 2 * here);
        if (!groups)
            join16(planes[0] + start, planes[1] + start, (uint8_t *)steps, here);
        else
            for (size_t i = 0; i < here; i++) {
                size_t at = groups[origins[i] >> shift & mask]++;
                steps[i] = (uint16_t)(planes[0][at] << 8 | planes[1][at]);
            }
        for (size_t i = 0; i < here; i++)
            put16(data, start + i, walk16(steps[i], origins[i]));
    }
}

static void add32(const uint8_t *const *planes, const uint8_t *base, uint8_t *data, size_t words, uint32_t shift,
                  uint32_t mask, size_t *groups) {
    uint32_t steps[STRETCH], origins[STRETCH];
    for (size_t start = 0; start < words; start += STRETCH) {
        size_t here = words - start < STRETCH ? words - start : STRETCH;
        const uint8_t *from[4] = {planes[0] + start, planes[1] + start, planes[2] + start, planes[3] + start};
        memcpy(origins, base + 4 * start, 4 * here);
        if (!groups)
            join32(from, (uint8_t *)steps, here, 0);
        else
            for (size_t i = 0; i < here; i++) {
                size_t at = groups[origins[i] >> shift & mask]++;
                steps[i] = (uint32_t)planes[0][at] << 24 | (uint32_t)planes[1][at] << 16 |
                           (uint32_t)planes[2][at] << 8 | planes[3][at];
            }
        for (size_t i = 0; i < here; i++)
            put32(data, start + i, walk32(steps[i], origins[i]));
    }
}

/* `mask` must be below 256: that many groups there are. */
PUBLIC int ptm_subtract(const uint8_t *data, const uint8_t *base, uint8_t *const *planes, size_t words, uint32_t width,
                        uint32_t shift, uint32_t mask, uint32_t grouped) {
    size_t starts[GROUPS], *groups = grouped ? starts : NULL;
    if ((width != 2 && width != 4) || shift >= 8 * width || mask >= GROUPS)
        return 1;
    if (grouped)
        find_groups(base, words, width, shift, mask, starts);
    (width == 2 ? subtract16 : subtract32)(data, base, planes, words, shift, mask, groups);
    return 0;
}

PUBLIC int ptm_add(const uint8_t *const *planes, const uint8_t *base, uint8_t *data, size_t words, uint32_t width,
                   uint32_t shift, uint32_t mask, uint32_t grouped) {
    size_t starts[GROUPS], *groups = grouped ? starts : NULL;
    if ((width != 2 && width != 4) || shift >= 8 * width || mask >= GROUPS)
        return 1;
    if (grouped)
        find_groups(base, words, width, shift, mask, starts);
    (width == 2 ? add16 : add32)(planes, base, data, words, shift, mask, groups);
    return 0;
}

/* Counting --------------------------------------------------------------------------------------------------------- */

/* Count the values of every `step`-th of `size` bytes, in four tables, so that equal neighbours need not wait. */
PUBLIC int ptm_count(const uint8_t *data, size_t size, size_t step, int64_t *counts) {
    uint32_t tables[4][256] = {{0}};
    if (step == 0 || size >> 32)
        return 1;
    for (size_t i = 0, turn = 0; i < size; i += step, turn++)
        tables[turn & 3][data[i]]++;
    for (int value = 0; value < 256; value++)
        counts[value] = (int64_t)tables[0][value] + tables[1][value] + tables[2][value] + tables[3][value];
    return 0;
}
