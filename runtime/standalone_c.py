"""A compiled network as a C program that needs nothing else: the files, and one line that builds them.

model.c      the kernels and the function NAME_run that calls them; keeps nothing between calls
model.h      its declaration, and the sizes of what it is passed
weights.bin  the weights
weights.c    links weights.bin into the program, through the assembler, so that it builds in no time
main.c       runs the network once on files of raw numbers
README.md    how to build and call it
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from runtime.c_text.expressions import C_TYPES
from runtime.staging import staged

SOURCES = ("main.c", "model.c", "weights.c")
PROGRAM_FILES = (*SOURCES, "model.h", "weights.bin", "README.md")
# Flags that change no result; with them the program is as fast as the library that Python loads.
BUILD_LINE = "cc -O3 -march=native -fopenmp -fno-math-errno -fno-trapping-math {sources} -lm -o {program}"


def write_program(source: Path, description: Mapping[str, Any], directory: Path) -> None:
    """Write the program of a compiled network's directory (`source`, with its description) to another directory.

    Raises: OutputError: it cannot be written.
    """
    texts = {"model.h": header(description, (source / "weights.bin").stat().st_size)}
    texts["main.c"] = main_program(description)
    texts["README.md"] = readme(description)
    with staged(directory) as folder:
        for name in ("model.c", "weights.bin"):
            shutil.copyfile(source / name, folder / name)
        texts["weights.c"] = weights_source(description, folder / "weights.bin")
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")


def program_name(description: Mapping[str, Any]) -> str:
    """The name that all of the program's C names begin with."""
    return str(description["entry"]).removesuffix("_run")


def header(description: Mapping[str, Any], weights_bytes: int) -> str:
    """The text of model.h."""
    name, entry = program_name(description), description["entry"]
    capital = name.upper()
    lines = [f" * inputs[{n}]   {_line(*item)}" for n, item in enumerate(_tensors(description, "inputs"))]
    lines += [f" * outputs[{n}]  {_line(*item)}" for n, item in enumerate(_tensors(description, "outputs"))]
    listed = "\n".join(lines)
    return f"""/* One inference per call of {entry}: declared here, defined in model.c. */
#ifndef {capital}_MODEL_H
#define {capital}_MODEL_H

#define {capital}_ALIGNMENT 64
#define {capital}_WORKSPACE_BYTES {max(1, description["workspace_bytes"])}
#define {capital}_WEIGHTS_BYTES {weights_bytes}

#ifdef __cplusplus
extern "C" {{
#endif

/* Row-major tensors:
 *
{listed}
 *
 * weights is the content of weights.bin; workspace is {capital}_WORKSPACE_BYTES of scratch memory. All memory starts at
 * multiples of {capital}_ALIGNMENT, and what is written overlaps nothing else. Returns 0.
 * The function keeps nothing between calls: threads may call it at the same time with a workspace each.
 */
int {entry}(const void *const *inputs, void *const *outputs, const void *weights, void *workspace);

/* weights.bin as weights.c links it in; a program without weights.c reads or maps the file itself. */
extern const unsigned char {name}_weights[{capital}_WEIGHTS_BYTES];

#ifdef __cplusplus
}}
#endif

#endif
"""


def weights_source(description: Mapping[str, Any], weights: Path) -> str:
    """The text of weights.c; it has another text for other weights, for compilers that keep what they built."""
    symbol = f"{program_name(description)}_weights"
    with weights.open("rb") as file:
        digest = hashlib.blake2b(digest_size=16)
        while piece := file.read(1 << 20):
            digest.update(piece)
    return f"""/* Links weights.bin into the program: the one in the folder where the compiler runs, or WEIGHTS_FILE.
 * Content: {digest.hexdigest()}
 */
#include "model.h"

#ifndef WEIGHTS_FILE
#define WEIGHTS_FILE "weights.bin"
#endif

#ifdef __APPLE__
__asm__(".section __TEXT,__const\\n"
        ".globl _{symbol}\\n.p2align 6\\n_{symbol}:\\n.incbin \\"" WEIGHTS_FILE "\\"\\n.text\\n");
#else
__asm__(".pushsection .rodata\\n"
        ".globl {symbol}\\n.type {symbol}, %object\\n.p2align 6\\n{symbol}:\\n.incbin \\"" WEIGHTS_FILE "\\"\\n"
        ".size {symbol}, . - {symbol}\\n.popsection\\n");
#endif
"""


def main_program(description: Mapping[str, Any]) -> str:
    """The text of main.c."""
    name = program_name(description)
    tables = {kind: _tensors(description, kind) for kind in ("inputs", "outputs")}
    rows = {
        kind: ", ".join(f'{{"{_quoted(one)}", {size}, {count}, "{c_type}"}}' for one, c_type, _, count, size in kept)
        for kind, kept in tables.items()
    }
    sizes = {
        "INPUTS": len(tables["inputs"]),
        "OUTPUTS": len(tables["outputs"]),
        "INPUT_TABLE": (rows["inputs"] + ", " if rows["inputs"] else "") + '{0, 0, 0, ""}',
        "OUTPUT_TABLE": rows["outputs"] + ', {0, 0, 0, ""}',
        "NAME": name,
        "CAPITAL": name.upper(),
    }
    text = _MAIN
    for word, value in sizes.items():
        text = text.replace(f"@{word}@", str(value))
    return text


def readme(description: Mapping[str, Any]) -> str:
    """The text of README.md."""
    name = program_name(description)
    kinds = {kind: _tensors(description, kind) for kind in ("inputs", "outputs")}
    files = " ".join(f"{_file(tensor)}.bin" for kind in kinds.values() for tensor, *_ in kind)
    lines = [f"- {kind[:-1]} {_line(*item)}" for kind, table in kinds.items() for item in table]
    return f"""# {name} as C

    {BUILD_LINE.format(sources=" ".join(SOURCES), program=name)}

builds the program with gcc or clang; without `-fopenmp` it runs on one thread, with it on {description["threads"]}.

    ./{name} {files}

runs it on files of raw numbers, row-major, in the machine's byte order (`array.tofile("x.bin")` in NumPy): inputs
first, then where the outputs go. Without arguments all inputs are ones. To call it from your own program, include
`model.h`.

{chr(10).join(lines)}
"""


def _tensors(description: Mapping[str, Any], kind: str) -> list[tuple[str, str, tuple[int, ...], int, int]]:
    """Name, dtype, shape, elements and bytes of each input or output."""
    found = []
    for name, (dtype, shape) in description[kind].items():
        count = int(np.prod(shape, dtype=np.int64))
        found.append((name, C_TYPES[dtype], tuple(shape), count, count * np.dtype(dtype).itemsize))
    return found


def _line(name: str, dtype: str, shape: tuple[int, ...], count: int, size: int) -> str:
    return f"{_quoted(name)}: {dtype}[{', '.join(map(str, shape))}], {size} bytes"


def _quoted(name: str) -> str:
    """A name of the model's author that can stand in a C string and in a comment."""
    return "".join(letter if letter.isalnum() or letter in "_-.: " else "_" for letter in name)


def _file(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "_-." else "_" for letter in name)


_MAIN = r"""/* Runs the network once: @NAME@ [FILE...], with a file of raw numbers for each input, then one to be
 * written for each output. Without files all inputs are ones.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "model.h"

typedef struct {
    const char *name;
    size_t bytes, count;
    const char *type;
} Tensor;

enum { INPUTS = @INPUTS@, OUTPUTS = @OUTPUTS@ };
static const Tensor inputs[] = {@INPUT_TABLE@};
static const Tensor outputs[] = {@OUTPUT_TABLE@};

static void *memory(size_t bytes)
{
    size_t whole = (bytes / @CAPITAL@_ALIGNMENT + 1) * @CAPITAL@_ALIGNMENT;
    void *start = aligned_alloc(@CAPITAL@_ALIGNMENT, whole);
    if (!start) {
        fprintf(stderr, "no memory for %zu bytes\n", whole);
        exit(1);
    }
    return start;
}

static void transfer(const char *path, void *data, const Tensor *tensor, int write)
{
    FILE *file = fopen(path, write ? "wb" : "rb");
    size_t done = !file ? 0 : write ? fwrite(data, 1, tensor->bytes, file) : fread(data, 1, tensor->bytes, file);
    int more = file && !write && fgetc(file) != EOF;
    if (!file || fclose(file) || done != tensor->bytes || more) {
        fprintf(stderr, "%s: expected %zu bytes for %s\n", path, tensor->bytes, tensor->name);
        exit(2);
    }
}

static void fill_with_ones(void *data, const Tensor *tensor)
{
    for (size_t i = 0; i < tensor->count; i++) {
        if (!strcmp(tensor->type, "float")) ((float *)data)[i] = 1;
        else if (!strcmp(tensor->type, "double")) ((double *)data)[i] = 1;
        else if (!strcmp(tensor->type, "int32_t")) ((int32_t *)data)[i] = 1;
        else if (!strcmp(tensor->type, "int64_t")) ((int64_t *)data)[i] = 1;
        else ((_Bool *)data)[i] = 1;
    }
}

static double element(const void *data, const Tensor *tensor, size_t i)
{
    if (!strcmp(tensor->type, "float")) return ((const float *)data)[i];
    if (!strcmp(tensor->type, "double")) return ((const double *)data)[i];
    if (!strcmp(tensor->type, "int32_t")) return ((const int32_t *)data)[i];
    if (!strcmp(tensor->type, "int64_t")) return (double)((const int64_t *)data)[i];
    return ((const _Bool *)data)[i];
}

int main(int argc, char **argv)
{
    void *in[INPUTS + 1], *out[OUTPUTS + 1], *workspace = memory(@CAPITAL@_WORKSPACE_BYTES);
    const void *read[INPUTS + 1];
    struct timespec start, end;

    if (argc != 1 && argc != 1 + INPUTS + OUTPUTS) {
        fprintf(stderr, "usage: %s [one file for each of %d inputs, then of %d outputs]\n", argv[0], INPUTS, OUTPUTS);
        return 2;
    }
    for (int n = 0; n < INPUTS; n++) {
        read[n] = in[n] = memory(inputs[n].bytes);
        if (argc > 1) transfer(argv[1 + n], in[n], &inputs[n], 0);
        else fill_with_ones(in[n], &inputs[n]);
    }
    for (int n = 0; n < OUTPUTS; n++) out[n] = memory(outputs[n].bytes);

    timespec_get(&start, TIME_UTC);
    @NAME@_run(read, out, @NAME@_weights, workspace);
    timespec_get(&end, TIME_UTC);

    for (int n = 0; n < OUTPUTS; n++) {
        printf("%s:", outputs[n].name);
        for (size_t i = 0; i < outputs[n].count && i < 8; i++) printf(" %.9g", element(out[n], &outputs[n], i));
        printf(outputs[n].count > 8 ? " ...\n" : "\n");
        if (argc > 1) transfer(argv[1 + INPUTS + n], out[n], &outputs[n], 1);
    }
    printf("%.3f ms\n", 1e3 * (double)(end.tv_sec - start.tv_sec) + 1e-6 * (double)(end.tv_nsec - start.tv_nsec));
    for (int n = 0; n < INPUTS; n++) free(in[n]);
    for (int n = 0; n < OUTPUTS; n++) free(out[n]);
    free(workspace);
    return 0;
}
"""
