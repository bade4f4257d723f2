/* The codecs' inner loops in C99, without Python headers. They must equal words.py, differences.py, quantised.py and
 * grouping.py byte for byte; see there for explanations. Little-endian machines only. No function allocates memory or keeps a pointer.
 *
 * The caller guarantees the sizes: a block has `words` words of `width` bytes, each plane `words` bytes, `counts` 256
 * numbers. Every function but the first returns 0; for unsupported arguments it returns 1 and writes nothing.
 */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(_WIN32)
#define PUBLIC __declspec(dllexport)
#else
#define PUBLIC __attribute__((visibility("default")))
#endif

/* Wide vectors if the machine has them: twice as fast; selected when the library is loaded. */
#if defined(__x86_64__) && defined(__linux__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define WIDE __attribute__((target_clones("avx2", "default")))
#else
#define WIDE
#endif

enum { ABI = 2, STRETCH = 1024, GROUPS = 256, SLOTS = 32, WIDTH = 32, LEVELS = 256, AHEAD = 16 };
#define BIAS 65536u

/* Blocks may start at any address: words are read and written through memcpy, which compilers turn into plain moves. */
static inline uint16_t get16(const uint8_t *block, size_t i) { uint16_t w; memcpy(&w, block + 2 * i, 2); return w; }
static inline uint32_t get32(const uint8_t *block, size_t i) { uint32_t w; memcpy(&w, block + 4 * i, 4); return w; }
static inline uint64_t get64(const uint8_t *block, size_t i) { uint64_t w; memcpy(&w, block + 8 * i, 8); return w; }
static inline void put16(uint8_t *block, size_t i, uint16_t w) { memcpy(block + 2 * i, &w, 2); }
static inline void put32(uint8_t *block, size_t i, uint32_t w) { memcpy(block + 4 * i, &w, 4); }
static inline void put64(uint8_t *block, size_t i, uint64_t w) { memcpy(block + 8 * i, &w, 8); }

PUBLIC uint32_t ptm_kernel_abi(void) { return ABI; }

/* Splitting and joining -------------------------------------------------------------------------------------------- */

WIDE static void split16(const uint8_t *restrict block, uint8_t *restrict p0, uint8_t *restrict p1, size_t words) {
    for (size_t i = 0; i < words; i++) {
        uint16_t w = get16(block, i);
        p0[i] = (uint8_t)(w >> 8);
        p1[i] = (uint8_t)w;
    }
}

WIDE static void split16_rotated(const uint8_t *restrict block, uint8_t *restrict p0, uint8_t *restrict p1,
                                 size_t words) {
    for (size_t i = 0; i < words; i++) {
        uint16_t w = get16(block, i);
        w = (uint16_t)(w << 1 | w >> 15);
        p0[i] = (uint8_t)(w >> 8);
        p1[i] = (uint8_t)w;
    }
}

WIDE static void split32(const uint8_t *restrict block, uint8_t *const *planes, size_t words) {
    uint8_t *restrict p0 = planes[0], *restrict p1 = planes[1], *restrict p2 = planes[2], *restrict p3 = planes[3];
    for (size_t i = 0; i < words; i++) {
        uint32_t w = get32(block, i);
        p0[i] = (uint8_t)(w >> 24);
        p1[i] = (uint8_t)(w >> 16);
        p2[i] = (uint8_t)(w >> 8);
        p3[i] = (uint8_t)w;
    }
}

WIDE static void split32_rotated(const uint8_t *restrict block, uint8_t *const *planes, size_t words) {
    uint8_t *restrict p0 = planes[0], *restrict p1 = planes[1], *restrict p2 = planes[2], *restrict p3 = planes[3];
    for (size_t i = 0; i < words; i++) {
        uint32_t w = get32(block, i);
        p0[i] = (uint8_t)(w >> 23);
        p1[i] = (uint8_t)(w >> 15 & 0xfe) | (uint8_t)(w >> 31);
        p2[i] = (uint8_t)(w >> 8);
        p3[i] = (uint8_t)w;
    }
}

WIDE static void split64(const uint8_t *restrict block, uint8_t *const *planes, size_t words) {
    for (size_t start = 0; start < words; start += STRETCH) {
        size_t stop = words - start < STRETCH ? words : start + STRETCH;
        for (int plane = 0; plane < 8; plane++) {
            uint8_t *restrict into = planes[plane];
            for (size_t i = start; i < stop; i++)
                into[i] = block[8 * i + (size_t)(7 - plane)];
        }
    }
}

WIDE static void join16(const uint8_t *restrict p0, const uint8_t *restrict p1, uint8_t *restrict block, size_t words) {
    for (size_t i = 0; i < words; i++)
        put16(block, i, (uint16_t)(p0[i] << 8 | p1[i]));
}

WIDE static void join16_rotated(const uint8_t *restrict p0, const uint8_t *restrict p1, uint8_t *restrict block,
                                size_t words) {
    for (size_t i = 0; i < words; i++) {
        uint16_t w = (uint16_t)(p0[i] << 8 | p1[i]);
        put16(block, i, (uint16_t)(w >> 1 | w << 15));
    }
}

WIDE static void join32(const uint8_t *const *planes, uint8_t *restrict block, size_t words, int rotated) {
    const uint8_t *restrict p0 = planes[0], *restrict p1 = planes[1], *restrict p2 = planes[2],
                  *restrict p3 = planes[3];
    for (size_t i = 0; i < words; i++) {
        uint16_t upper = (uint16_t)(p0[i] << 8 | p1[i]), lower = (uint16_t)(p2[i] << 8 | p3[i]);
        if (rotated)
            upper = (uint16_t)(upper >> 1 | upper << 15);
        put32(block, i, (uint32_t)upper << 16 | lower);
    }
}

WIDE static void join64(const uint8_t *const *planes, uint8_t *restrict block, size_t words) {
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

#define TOP16 0x8000u
#define TOP32 0x80000000u

/* All ones if the top bit of a word is set, else zero. */
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

static inline size_t least(size_t a, size_t b) { return a < b ? a : b; }

WIDE static void steps16(const uint8_t *restrict data, const uint8_t *restrict base, uint16_t *restrict steps,
                         size_t words) {
    for (size_t i = 0; i < words; i++)
        steps[i] = step16(get16(data, i), get16(base, i));
}

WIDE static void steps32(const uint8_t *restrict data, const uint8_t *restrict base, uint32_t *restrict steps,
                         size_t words) {
    for (size_t i = 0; i < words; i++)
        steps[i] = step32(get32(data, i), get32(base, i));
}

WIDE static void walk_all16(const uint16_t *restrict steps, const uint8_t *restrict base, uint8_t *restrict data,
                            size_t words) {
    for (size_t i = 0; i < words; i++)
        put16(data, i, walk16(steps[i], get16(base, i)));
}

WIDE static void walk_all32(const uint32_t *restrict steps, const uint8_t *restrict base, uint8_t *restrict data,
                            size_t words) {
    for (size_t i = 0; i < words; i++)
        put32(data, i, walk32(steps[i], get32(base, i)));
}

static void subtract16(const uint8_t *data, const uint8_t *base, uint8_t *const *planes, size_t words) {
    uint16_t steps[STRETCH];
    for (size_t start = 0; start < words; start += STRETCH) {
        size_t here = least(words - start, STRETCH);
        steps16(data + 2 * start, base + 2 * start, steps, here);
        split16((const uint8_t *)steps, planes[0] + start, planes[1] + start, here);
    }
}

static void subtract32(const uint8_t *data, const uint8_t *base, uint8_t *const *planes, size_t words) {
    uint32_t steps[STRETCH];
    for (size_t start = 0; start < words; start += STRETCH) {
        size_t here = least(words - start, STRETCH);
        uint8_t *into[4] = {planes[0] + start, planes[1] + start, planes[2] + start, planes[3] + start};
        steps32(data + 4 * start, base + 4 * start, steps, here);
        split32((const uint8_t *)steps, into, here);
    }
}

static void add16(const uint8_t *const *planes, const uint8_t *base, uint8_t *data, size_t words) {
    uint16_t steps[STRETCH];
    for (size_t start = 0; start < words; start += STRETCH) {
        size_t here = least(words - start, STRETCH);
        join16(planes[0] + start, planes[1] + start, (uint8_t *)steps, here);
        walk_all16(steps, base + 2 * start, data + 2 * start, here);
    }
}

static void add32(const uint8_t *const *planes, const uint8_t *base, uint8_t *data, size_t words) {
    uint32_t steps[STRETCH];
    for (size_t start = 0; start < words; start += STRETCH) {
        size_t here = least(words - start, STRETCH);
        const uint8_t *from[4] = {planes[0] + start, planes[1] + start, planes[2] + start, planes[3] + start};
        join32(from, (uint8_t *)steps, here, 0);
        walk_all32(steps, base + 4 * start, data + 4 * start, here);
    }
}

/* Differences by exponent: a counting sort ------------------------------------------------------------------------- */

static inline uint32_t field(const uint8_t *base, size_t i, uint32_t width, uint32_t shift, uint32_t mask) {
    return (width == 2 ? get16(base, i) : get32(base, i)) >> shift & mask;
}

/* Find where the words of each exponent start in sorted order. */
static void find_groups(const uint8_t *base, size_t words, uint32_t width, uint32_t shift, uint32_t mask,
                        size_t ends[GROUPS]) {
    size_t counts[4][GROUPS] = {{0}}, end = 0;
    size_t whole = words & ~(size_t)3;
    for (size_t i = 0; i < whole; i += 4) {
        counts[0][field(base, i, width, shift, mask)]++;
        counts[1][field(base, i + 1, width, shift, mask)]++;
        counts[2][field(base, i + 2, width, shift, mask)]++;
        counts[3][field(base, i + 3, width, shift, mask)]++;
    }
    for (size_t i = whole; i < words; i++)
        counts[0][field(base, i, width, shift, mask)]++;
    for (size_t group = 0; group < GROUPS; group++) {
        ends[group] = end;
        end += counts[0][group] + counts[1][group] + counts[2][group] + counts[3][group];
    }
}

static void subtract16_grouped(const uint8_t *data, const uint8_t *base, uint8_t *const *planes, size_t words,
                               uint32_t shift, uint32_t mask, size_t *restrict ends) {
    uint8_t *restrict p0 = planes[0], *restrict p1 = planes[1];
    uint16_t steps[STRETCH];
    for (size_t start = 0; start < words; start += STRETCH) {
        size_t here = least(words - start, STRETCH);
        steps16(data + 2 * start, base + 2 * start, steps, here);
        for (size_t i = 0; i < here; i++) {
            size_t at = ends[get16(base, start + i) >> shift & mask]++;
            p0[at] = (uint8_t)(steps[i] >> 8);
            p1[at] = (uint8_t)steps[i];
        }
    }
}

static void subtract32_grouped(const uint8_t *data, const uint8_t *base, uint8_t *const *planes, size_t words,
                               uint32_t shift, uint32_t mask, size_t *restrict ends) {
    uint8_t *restrict p0 = planes[0], *restrict p1 = planes[1], *restrict p2 = planes[2], *restrict p3 = planes[3];
    uint32_t steps[STRETCH];
    for (size_t start = 0; start < words; start += STRETCH) {
        size_t here = least(words - start, STRETCH);
        steps32(data + 4 * start, base + 4 * start, steps, here);
        for (size_t i = 0; i < here; i++) {
            size_t at = ends[get32(base, start + i) >> shift & mask]++;
            p0[at] = (uint8_t)(steps[i] >> 24);
            p1[at] = (uint8_t)(steps[i] >> 16);
            p2[at] = (uint8_t)(steps[i] >> 8);
            p3[at] = (uint8_t)steps[i];
        }
    }
}

static void add16_grouped(const uint8_t *const *planes, const uint8_t *base, uint8_t *data, size_t words,
                          uint32_t shift, uint32_t mask, size_t *restrict ends) {
    const uint8_t *restrict p0 = planes[0], *restrict p1 = planes[1];
    uint16_t steps[STRETCH];
    for (size_t start = 0; start < words; start += STRETCH) {
        size_t here = least(words - start, STRETCH);
        for (size_t i = 0; i < here; i++) {
            size_t at = ends[get16(base, start + i) >> shift & mask]++;
            steps[i] = (uint16_t)(p0[at] << 8 | p1[at]);
        }
        walk_all16(steps, base + 2 * start, data + 2 * start, here);
    }
}

static void add32_grouped(const uint8_t *const *planes, const uint8_t *base, uint8_t *data, size_t words,
                          uint32_t shift, uint32_t mask, size_t *restrict ends) {
    const uint8_t *restrict p0 = planes[0], *restrict p1 = planes[1], *restrict p2 = planes[2],
                  *restrict p3 = planes[3];
    uint32_t steps[STRETCH];
    for (size_t start = 0; start < words; start += STRETCH) {
        size_t here = least(words - start, STRETCH);
        for (size_t i = 0; i < here; i++) {
            size_t at = ends[get32(base, start + i) >> shift & mask]++;
            steps[i] = (uint32_t)p0[at] << 24 | (uint32_t)p1[at] << 16 | (uint32_t)p2[at] << 8 | p3[at];
        }
        walk_all32(steps, base + 4 * start, data + 4 * start, here);
    }
}

/* `mask` must be below 256, the number of groups. */
PUBLIC int ptm_subtract(const uint8_t *data, const uint8_t *base, uint8_t *const *planes, size_t words, uint32_t width,
                        uint32_t shift, uint32_t mask, uint32_t grouped) {
    size_t ends[GROUPS];
    if ((width != 2 && width != 4) || shift >= 8 * width || mask >= GROUPS)
        return 1;
    if (!grouped) {
        (width == 2 ? subtract16 : subtract32)(data, base, planes, words);
    } else {
        find_groups(base, words, width, shift, mask, ends);
        (width == 2 ? subtract16_grouped : subtract32_grouped)(data, base, planes, words, shift, mask, ends);
    }
    return 0;
}

PUBLIC int ptm_add(const uint8_t *const *planes, const uint8_t *base, uint8_t *data, size_t words, uint32_t width,
                   uint32_t shift, uint32_t mask, uint32_t grouped) {
    size_t ends[GROUPS];
    if ((width != 2 && width != 4) || shift >= 8 * width || mask >= GROUPS)
        return 1;
    if (!grouped) {
        (width == 2 ? add16 : add32)(planes, base, data, words);
    } else {
        find_groups(base, words, width, shift, mask, ends);
        (width == 2 ? add16_grouped : add32_grouped)(planes, base, data, words, shift, mask, ends);
    }
    return 0;
}

/* Counting --------------------------------------------------------------------------------------------------------- */

/* Count the values of every `step`-th of `size` bytes, in four tables, so that equal neighbours do not stall. */
PUBLIC int ptm_count(const uint8_t *data, size_t size, size_t step, int64_t *counts) {
    uint32_t tables[4][256] = {{0}};
    if (step == 0 || size >> 32)
        return 1;
    size_t many = size ? (size - 1) / step + 1 : 0, whole = many & ~(size_t)3;
    for (size_t i = 0; i < whole; i += 4) {
        const uint8_t *at = data + i * step;
        tables[0][at[0]]++;
        tables[1][at[step]]++;
        tables[2][at[2 * step]]++;
        tables[3][at[3 * step]]++;
    }
    for (size_t i = whole; i < many; i++)
        tables[0][data[i * step]]++;
    for (int value = 0; value < 256; value++)
        counts[value] = (int64_t)tables[0][value] + tables[1][value] + tables[2][value] + tables[3][value];
    return 0;
}

/* Numbers by the size of their scale ------------------------------------------------------------------------------- */

struct classes {
    uint32_t shift, low, top;
};

static inline uint32_t class_of(uint32_t risen, const struct classes *by) {
    uint32_t level = risen >> by->shift;
    level = level > by->low ? level - by->low : 0;
    return level < by->top ? level : by->top;
}

/* The number of a place among the columns and a level, in eighths of an octave. */
static inline size_t key_of(int32_t code, size_t place) {
    return place * LEVELS + (((uint32_t)code + BIAS) >> 7 & (LEVELS - 1));
}

/* Find the class of each column of a key. */
static void classes_of(size_t key, size_t width, const uint8_t *columns, const struct classes *by, uint8_t *found) {
    const uint8_t *weights = columns + key / LEVELS * width;
    uint32_t level = (uint32_t)(key % LEVELS) + (BIAS >> 7);
    for (size_t i = 0; i < width; i++)
        found[i] = (uint8_t)class_of((level - weights[i]) << 7, by);
}

static void count_keys(const int32_t *codes, size_t groups, size_t period, size_t first, uint32_t *keys) {
    memset(keys, 0, period * LEVELS * sizeof *keys);
    for (size_t group = 0; group < groups; group++) {
        keys[key_of(codes[group], first)]++;
        first = first + 1 == period ? 0 : first + 1;
    }
}

static int is_plan(size_t groups, size_t width, size_t period, size_t first, uint32_t shift, uint32_t slots) {
    return groups >> 31 == 0 && width && width <= WIDTH && shift < 32 && slots && slots <= SLOTS &&
           (!period || (first < period && shift >= 7));
}

/* Count the symbols of each class. `columns` has `period * width` weights, or `period` is zero. `keys` is memory for
 * 256 numbers for each group of the columns, then one for each group. */
PUBLIC int ptm_tally(const int32_t *codes, size_t groups, size_t width, const uint8_t *columns, size_t period,
                     size_t first, uint32_t shift, uint32_t low, uint32_t slots, uint32_t *keys, int64_t *counts) {
    const struct classes by = {shift, low, slots - 1};
    uint8_t found[WIDTH];
    if (!is_plan(groups, width, period, first, shift, slots))
        return 1;
    for (uint32_t slot = 0; slot < slots; slot++)
        counts[slot] = 0;
    if (!period)
        for (size_t group = 0; group < groups; group++)
            counts[class_of((uint32_t)codes[group] + BIAS, &by)] += (int64_t)width;
    else
        count_keys(codes, groups, period, first, keys);
    for (size_t key = 0; key < period * LEVELS; key++) {
        if (!keys[key])
            continue;
        classes_of(key, width, columns, &by, found);
        for (size_t i = 0; i < width; i++)
            counts[found[i]] += keys[key];
    }
    return 0;
}

/* Move groups of one class each. */
static void sort_groups(const uint8_t *from, uint8_t *into, const int32_t *codes, size_t groups, size_t width,
                        const struct classes *by, size_t *ends, uint32_t back) {
    for (size_t group = 0, at = 0; group < groups; group++, at += width) {
        size_t *end = &ends[class_of((uint32_t)codes[group] + BIAS, by)];
        memcpy(into + (back ? at : *end), from + (back ? *end : at), width);
        *end += width;
    }
}

/* Write the positions of groups ordered by key after the counts of keys. */
static void order_groups(const int32_t *codes, size_t groups, size_t period, size_t first, uint32_t *keys) {
    uint32_t *order = keys + period * LEVELS, at = 0;
    for (size_t key = 0; key < period * LEVELS; key++) {
        uint32_t many = keys[key];
        keys[key] = at;
        at += many;
    }
    for (size_t group = 0; group < groups; group++) {
        order[keys[key_of(codes[group], first)]++] = (uint32_t)group;
        first = first + 1 == period ? 0 : first + 1;
    }
}

/* Groups of a place are a row apart, too far for the machine to foresee. */
#if defined(__GNUC__)
#define PREFETCH(address) __builtin_prefetch(address)
#else
#define PREFETCH(address) (void)(address)
#endif

/* Swap the parts of two words that `mask` and `shift` name. */
static inline void swap_parts(uint64_t *one, uint64_t *other, int shift, uint64_t mask) {
    uint64_t change = (*one >> shift ^ *other) & mask;
    *other ^= change;
    *one ^= change << shift;
}

/* Turn eight rows of eight bytes into columns. */
static inline void turn(uint64_t rows[8]) {
    for (int i = 0; i < 4; i++)
        swap_parts(rows + i, rows + i + 4, 32, 0x00000000ffffffffu);
    for (int i = 0; i < 8; i += i % 4 == 1 ? 3 : 1)
        swap_parts(rows + i, rows + i + 2, 16, 0x0000ffff0000ffffu);
    for (int i = 0; i < 8; i += 2)
        swap_parts(rows + i, rows + i + 1, 8, 0x00ff00ff00ff00ffu);
}

/* Eight groups at a time: whole words of columns, in either direction. */
static void move_eight(const uint8_t *from, uint8_t *into, const uint32_t *order, size_t row, size_t width,
                       const size_t *starts, uint32_t back) {
    uint64_t words[8];
    for (size_t column = 0; column < width; column += 8) {
        for (size_t i = 0; i < 8; i++)
            memcpy(words + i, from + (back ? starts[column + i] + row : order[row + i] * width + column), 8);
        turn(words);
        for (size_t i = 0; i < 8; i++)
            memcpy(into + (back ? order[row + i] * width + column : starts[column + i] + row), words + i, 8);
    }
}

static void move_columns(const uint8_t *from, uint8_t *into, const uint32_t *order, size_t many, size_t width,
                         const size_t *starts, uint32_t back) {
    size_t row = 0;
    for (; width % 8 == 0 && row + 8 <= many; row += 8) {
        for (size_t i = row + AHEAD; i < row + AHEAD + 8 && i < many; i++)
            PREFETCH((back ? into : from) + order[i] * width);
        move_eight(from, into, order, row, width, starts, back);
    }
    for (; row < many; row++)
        for (size_t i = 0; i < width; i++) {
            size_t own = order[row] * width + i, there = starts[i] + row;
            into[back ? own : there] = from[back ? there : own];
        }
}

/* Order symbols by class, those of class `k` from position `starts[k]` on; or, `back`, write them in their own order.
 * `keys` is memory as for `ptm_tally`. */
PUBLIC int ptm_sort(const uint8_t *from, uint8_t *into, const int32_t *codes, size_t groups, size_t width,
                    const uint8_t *columns, size_t period, size_t first, uint32_t shift, uint32_t low, uint32_t slots,
                    uint32_t *keys, const int64_t *starts, uint32_t back) {
    const struct classes by = {shift, low, slots - 1};
    uint8_t found[WIDTH];
    size_t ends[SLOTS], places[WIDTH], done = 0;
    if (!is_plan(groups, width, period, first, shift, slots))
        return 1;
    for (uint32_t slot = 0; slot < slots; slot++)
        ends[slot] = (size_t)starts[slot];
    if (!period) {
        sort_groups(from, into, codes, groups, width, &by, ends, back);
        return 0;
    }
    count_keys(codes, groups, period, first, keys);
    order_groups(codes, groups, period, first, keys);
    for (size_t key = 0; key < period * LEVELS; key++) {
        size_t many = keys[key] - done;
        if (!many)
            continue;
        classes_of(key, width, columns, &by, found);
        for (size_t i = 0; i < width; i++) {
            places[i] = ends[found[i]];
            ends[found[i]] += many;
        }
        move_columns(from, into, keys + period * LEVELS + done, many, width, places, back);
        done += many;
    }
    return 0;
}

#define EACH 0x0101010101010101u

/* Spread the bits of a byte to bit 4 of eight bytes. */
static inline uint64_t spread(uint8_t bits) {
    uint64_t own = bits * EACH & 0x8040201008040201u;
    return (((own & 0x7f * EACH) + 0x7f * EACH) | own) >> 3 & 0x10 * EACH;
}

static void unpack_q5(const uint8_t *restrict blocks, uint8_t *restrict into, size_t count) {
    for (size_t block = 0; block < count; block++, blocks += 22, into += 32)
        for (size_t i = 0; i < 2; i++) {
            uint64_t pairs = get64(blocks + 6, i);
            put64(into, i, (pairs & 0x0f * EACH) | spread(blocks[2 + i]));
            put64(into, 2 + i, (pairs >> 4 & 0x0f * EACH) | spread(blocks[4 + i]));
        }
}

static inline uint8_t collect(uint64_t numbers) {
    return (uint8_t)((numbers >> 4 & EACH) * 0x0102040810204080u >> 56);
}

static void pack_q5(const uint8_t *restrict from, uint8_t *restrict blocks, size_t count) {
    for (size_t block = 0; block < count; block++, blocks += 22, from += 32)
        for (size_t i = 0; i < 2; i++) {
            uint64_t low = get64(from, i), high = get64(from, 2 + i);
            blocks[2 + i] = collect(low);
            blocks[4 + i] = collect(high);
            put64(blocks + 6, i, (low & 0x0f * EACH) | (high & 0x0f * EACH) << 4);
        }
}

WIDE static void unpack_q4k(const uint8_t *restrict blocks, uint8_t *restrict into, size_t count) {
    for (size_t part = 0; part < 4 * count; part++) {
        const uint8_t *packed = blocks + part / 4 * 144 + 16 + part % 4 * 32;
        uint8_t *pairs = into + part * 32;
        for (int i = 0; i < 16; i++) {
            pairs[i] = (uint8_t)((packed[2 * i] & 15) | packed[2 * i + 1] << 4);
            pairs[16 + i] = (uint8_t)(packed[2 * i] >> 4 | (packed[2 * i + 1] & 0xf0));
        }
    }
}

WIDE static void pack_q4k(const uint8_t *restrict from, uint8_t *restrict blocks, size_t count) {
    for (size_t part = 0; part < 4 * count; part++) {
        uint8_t *packed = blocks + part / 4 * 144 + 16 + part % 4 * 32;
        const uint8_t *pairs = from + part * 32;
        for (int i = 0; i < 16; i++) {
            packed[2 * i] = (uint8_t)((pairs[i] & 15) | pairs[16 + i] << 4);
            packed[2 * i + 1] = (uint8_t)(pairs[i] >> 4 | (pairs[16 + i] & 0xf0));
        }
    }
}

WIDE static void unpack_q6k(const uint8_t *restrict blocks, uint8_t *restrict into, size_t count) {
    for (size_t half = 0; half < 2 * count; half++, into += 128) {
        const uint8_t *low = blocks + half / 2 * 210 + half % 2 * 64, *high = blocks + half / 2 * 210 + 128 + half % 2 * 32;
        for (int i = 0; i < 32; i++) {
            into[i] = (uint8_t)((low[i] & 15) | (high[i] & 3) << 4);
            into[32 + i] = (uint8_t)((low[32 + i] & 15) | (high[i] >> 2 & 3) << 4);
            into[64 + i] = (uint8_t)(low[i] >> 4 | (high[i] >> 4 & 3) << 4);
            into[96 + i] = (uint8_t)(low[32 + i] >> 4 | high[i] >> 6 << 4);
        }
    }
}

WIDE static void pack_q6k(const uint8_t *restrict from, uint8_t *restrict blocks, size_t count) {
    for (size_t half = 0; half < 2 * count; half++, from += 128) {
        uint8_t *low = blocks + half / 2 * 210 + half % 2 * 64, *high = blocks + half / 2 * 210 + 128 + half % 2 * 32;
        for (int i = 0; i < 32; i++) {
            low[i] = (uint8_t)((from[i] & 15) | from[64 + i] << 4);
            low[32 + i] = (uint8_t)((from[32 + i] & 15) | from[96 + i] << 4);
            high[i] = (uint8_t)((from[i] >> 4 & 3) | (from[32 + i] >> 4 & 3) << 2 | (from[64 + i] >> 4 & 3) << 4 |
                                (from[96 + i] >> 4 & 3) << 6);
        }
    }
}

static void unpack_q8(const uint8_t *blocks, uint8_t *into, size_t count) {
    for (size_t block = 0; block < count; block++)
        memcpy(into + block * 32, blocks + block * 34 + 2, 32);
}

static void pack_q8(const uint8_t *from, uint8_t *blocks, size_t count) {
    for (size_t block = 0; block < count; block++)
        memcpy(blocks + block * 34 + 2, from + block * 32, 32);
}

PUBLIC int ptm_unpack(uint32_t kind, const uint8_t *blocks, uint8_t *into, size_t count) {
    switch (kind) {
    case 0: unpack_q8(blocks, into, count); return 0;
    case 1: unpack_q5(blocks, into, count); return 0;
    case 2: unpack_q4k(blocks, into, count); return 0;
    case 3: unpack_q6k(blocks, into, count); return 0;
    default: return 1;
    }
}

PUBLIC int ptm_pack(uint32_t kind, const uint8_t *from, uint8_t *blocks, size_t count) {
    switch (kind) {
    case 0: pack_q8(from, blocks, count); return 0;
    case 1: pack_q5(from, blocks, count); return 0;
    case 2: pack_q4k(from, blocks, count); return 0;
    case 3: pack_q6k(from, blocks, count); return 0;
    default: return 1;
    }
}
