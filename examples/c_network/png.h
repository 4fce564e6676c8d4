/* A PNG without compression, of rows of 8-bit RGB: what the format needs and nothing more (RFC 2083). */
#ifndef PNG_H
#define PNG_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void png_put32(unsigned char* to, uint32_t value) {
    int i;
    for (i = 0; i < 4; ++i) to[i] = (unsigned char)(value >> (24 - 8 * i));
}

/* length, type, data, CRC-32 of type and data; `chunk` has 8 bytes before the data and 4 behind them. */
static int png_chunk(FILE* file, unsigned char* chunk, const char* type, size_t bytes) {
    uint32_t sum = ~0u;
    size_t i;
    int bit;
    png_put32(chunk, (uint32_t)bytes);
    memcpy(chunk + 4, type, 4);
    for (i = 4; i < bytes + 8; ++i)
        for (sum ^= chunk[i], bit = 0; bit < 8; ++bit) sum = sum & 1 ? sum >> 1 ^ 0xEDB88320u : sum >> 1;
    png_put32(chunk + 8 + bytes, ~sum);
    return fwrite(chunk, 1, bytes + 12, file) == bytes + 12;
}

/* Returns 0 where the file could not be written, or the picture has a side beyond 10000 pixels. */
static int png_write(const char* path, const unsigned char* rgb, int width, int height) {
    const size_t row = 3 * (size_t)width;
    unsigned char head[25], end[12], *data, *to;
    uint32_t a = 1, b = 0;
    size_t i;
    int y, done;
    FILE* file;
    if (width < 1 || height < 1 || width > 10000 || height > 10000) return 0;
    data = malloc(8 + 2 + (size_t)height * (row + 6) + 4 + 4);
    file = data ? fopen(path, "wb") : NULL;
    if (!file) return free(data), 0;
    png_put32(head + 8, (uint32_t)width);
    png_put32(head + 12, (uint32_t)height);
    memcpy(head + 16, "\10\2\0\0\0", 5); /* 8 bits, RGB */
    to = data + 8;
    *to++ = 0x78; /* zlib's header, then a stored block a row: filter "none" and the pixels */
    *to++ = 0x01;
    for (y = 0; y < height; ++y) {
        const size_t bytes = row + 1;
        *to++ = y == height - 1;
        *to++ = (unsigned char)bytes;
        *to++ = (unsigned char)(bytes >> 8);
        *to++ = (unsigned char)~bytes;
        *to++ = (unsigned char)(~bytes >> 8);
        *to = 0;
        memcpy(to + 1, rgb + (size_t)y * row, row);
        for (i = 0; i < bytes; ++i) b = (b + (a = (a + to[i]) % 65521)) % 65521;
        to += bytes;
    }
    png_put32(to, b << 16 | a);
    done = fwrite("\211PNG\r\n\032\n", 1, 8, file) == 8 && png_chunk(file, head, "IHDR", 13) &&
           png_chunk(file, data, "IDAT", (size_t)(to + 4 - data) - 8) && png_chunk(file, end, "IEND", 0);
    free(data);
    return fclose(file) == 0 && done;
}

#endif
