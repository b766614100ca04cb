/* What decoding costs in C: each frame of a chunk is parsed, allocated, copied and freed.
 *
 * The frames of a chunk are freed together, as a list of them would be. Returns the sum of
 * their sizes, so that the answer can be checked and nothing is optimised away.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

uint64_t decode(const unsigned char *data, size_t size, size_t rounds, void **frames)
{
    uint64_t total = 0;
    for (size_t round = 0; round < rounds; round++) {
        size_t at = 0, count = 0;
        while (size - at >= 4) {
            const unsigned char *p = data + at;
            uint32_t length = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
            if (length > 16777216 || length > size - at - 4)
                break;
            void *frame = malloc(length + 1);
            if (frame == NULL)
                abort();
            memcpy(frame, p + 4, length);
            frames[count++] = frame;
            total += length;
            at += 4 + (size_t)length;
        }
        for (size_t i = 0; i < count; i++)
            free(frames[i]);
    }
    return total;
}

/* The same, each frame freed before the next is made. */
uint64_t decode_one_by_one(const unsigned char *data, size_t size, size_t rounds, void **frames)
{
    uint64_t total = 0;
    for (size_t round = 0; round < rounds; round++) {
        size_t at = 0;
        while (size - at >= 4) {
            const unsigned char *p = data + at;
            uint32_t length = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
            if (length > 16777216 || length > size - at - 4)
                break;
            void *frame = malloc(length + 1);
            if (frame == NULL)
                abort();
            memcpy(frame, p + 4, length);
            frames[0] = frame;
            __asm__ volatile("" : : "r"(frame) : "memory");
            free(frame);
            total += length;
            at += 4 + (size_t)length;
        }
    }
    return total;
}
