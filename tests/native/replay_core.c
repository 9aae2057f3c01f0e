/* Feeds fuzz_core.c without libFuzzer: every input file, then each cut and each single-bit change of it. Prints how many inputs ran. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { INPUT_SIZE_MAX = 4096 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char **argv)
{
    static uint8_t input[INPUT_SIZE_MAX];
    unsigned long n_inputs = 0;

    for (int i = 1; i < argc; i++) {
        FILE *const file = fopen(argv[i], "rb");
        if (file == NULL) {
            perror(argv[i]);
            return EXIT_FAILURE;
        }
        const size_t size = fread(input, 1, sizeof input, file);
        fclose(file);
        for (size_t cut = 0; cut <= size; cut++, n_inputs++) {
            LLVMFuzzerTestOneInput(input, cut);
        }
        for (size_t bit = 0; bit < 8 * size; bit++, n_inputs++) {
            input[bit / 8] ^= (uint8_t)(1u << bit % 8);
            LLVMFuzzerTestOneInput(input, size);
            input[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
    }
    printf("%lu\n", n_inputs);
    return EXIT_SUCCESS;
}
