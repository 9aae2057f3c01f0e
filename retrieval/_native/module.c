/* The binding of core/ to Python: parse arguments, drop the GIL around one call, raise.
 *
 * Limited API of 3.11 (the first with the buffer protocol in it), so that one build serves every later Python. What the functions mean is
 * written in _pure.py. The exported buffer keeps a bytearray from being resized while the GIL is dropped; it does not keep other threads
 * from writing into it, so those that verify ask their callers not to. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#if defined(__linux__) && defined(__aarch64__)
#include <sys/auxv.h>
#endif

#include "core/cid.h"
#include "core/frame.h"
#include "core/sha256.h"
#include "core/uvarint.h"
#include "core/verify.h"

/* Below this, handing the GIL over costs more than hashing (hashlib draws its line at the same size). */
#define UNLOCKED_SIZE_MIN 2048u
/* Rows that one call may return, 2.5 MiB of them; a caller that wants more asks again. */
#define FRAMES_PER_CALL_MAX 65536

_Static_assert(sizeof(struct rmn_frame) == 24, "tables.py reads rows of three u64");
_Static_assert(sizeof(struct rmn_block_row) == 40, "tables.py reads rows of two u32 and four u64");

struct module_state {
    enum rmn_sha256_kernel kernel;
};

static enum rmn_sha256_kernel kernel_of(PyObject *module)
{
    return ((struct module_state *)PyModule_GetState(module))->kernel;
}

/* The sentences are those of _pure.py. */
static void raise_result(enum rmn_result result)
{
    static const char *const sentences[] = {
        [RMN_OK] = "",
        [RMN_UVARINT_CUT_SHORT] = "the uvarint is cut short",
        [RMN_UVARINT_NOT_MINIMAL] = "the uvarint is not minimal",
        [RMN_UVARINT_TOO_LONG] = "the uvarint is longer than 9 bytes",
        [RMN_UVARINT_TOO_LARGE] = "a uvarint holds 0 to 2^63 - 1",
        [RMN_CID_CUT_SHORT] = "the CID is cut short",
        [RMN_CID_VERSION_UNKNOWN] = "the CID version is unknown",
        [RMN_CID_DIGEST_TOO_LONG] = "the digest is longer than the limit",
        [RMN_BLOCK_HEADER_CUT_SHORT] = "the block header is cut short",
        [RMN_BLOCK_CID_MISFIT] = "the CID does not fill its field",
        [RMN_OUT_TOO_SMALL] = "the output is too small",
    };
    PyErr_SetString(PyExc_ValueError, sentences[result]);
}

static int check_n_args(Py_ssize_t n_args, Py_ssize_t least, Py_ssize_t most)
{
    if (n_args < least || n_args > most) {
        PyErr_Format(PyExc_TypeError, "takes %zd to %zd arguments, got %zd", least, most, n_args);
        return -1;
    }
    return 0;
}

/* Reads the optional argument `offset` (0 when absent) and checks that it lies in the data. */
static int read_offset(PyObject *const *args, Py_ssize_t n_args, const Py_buffer *data, size_t *offset)
{
    Py_ssize_t value = 0;

    if (n_args > 1) {
        value = PyNumber_AsSsize_t(args[1], NULL); /* clamps: what does not fit lies outside anyway */
        if (value == -1 && PyErr_Occurred()) {
            return -1;
        }
    }
    if (value < 0 || value > data->len) {
        PyErr_SetString(PyExc_ValueError, "the offset lies outside the data");
        return -1;
    }
    *offset = (size_t)value;
    return 0;
}

static PyObject *encode_uvarint(PyObject *module, PyObject *argument)
{
    uint8_t out[RMN_UVARINT_SIZE_MAX];
    size_t size = 0;

    (void)module;
    const long long value = PyLong_AsLongLong(argument);
    if (value == -1 && PyErr_Occurred()) {
        if (PyErr_ExceptionMatches(PyExc_OverflowError)) {
            PyErr_Clear();
            raise_result(RMN_UVARINT_TOO_LARGE);
        }
        return NULL;
    }
    if (value < 0) {
        raise_result(RMN_UVARINT_TOO_LARGE);
        return NULL;
    }
    const enum rmn_result result = rmn_uvarint_encode((uint64_t)value, out, sizeof out, &size);
    if (result != RMN_OK) {
        raise_result(result);
        return NULL;
    }
    return PyBytes_FromStringAndSize((const char *)out, (Py_ssize_t)size);
}

static PyObject *decode_uvarint(PyObject *module, PyObject *const *args, Py_ssize_t n_args)
{
    PyObject *found = NULL;
    Py_buffer data;
    size_t at;
    uint64_t value;

    (void)module;
    if (check_n_args(n_args, 1, 2) < 0 || PyObject_GetBuffer(args[0], &data, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    if (read_offset(args, n_args, &data, &at) < 0) {
        goto exit;
    }
    const enum rmn_result result = rmn_uvarint_decode(data.buf, (size_t)data.len, &at, &value);
    if (result != RMN_OK) {
        raise_result(result);
        goto exit;
    }
    found = Py_BuildValue("Kn", (unsigned long long)value, (Py_ssize_t)at);
exit:
    PyBuffer_Release(&data);
    return found;
}

static PyObject *parse_cid(PyObject *module, PyObject *const *args, Py_ssize_t n_args)
{
    PyObject *found = NULL;
    Py_buffer data;
    size_t at;
    struct rmn_cid cid;

    (void)module;
    if (check_n_args(n_args, 1, 2) < 0 || PyObject_GetBuffer(args[0], &data, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    if (read_offset(args, n_args, &data, &at) < 0) {
        goto exit;
    }
    const enum rmn_result result = rmn_cid_parse(data.buf, (size_t)data.len, at, &cid);
    if (result != RMN_OK) {
        raise_result(result);
        goto exit;
    }
    found = Py_BuildValue("KKKnn", (unsigned long long)cid.version, (unsigned long long)cid.codec, (unsigned long long)cid.hash_code,
                          (Py_ssize_t)cid.digest_start, (Py_ssize_t)cid.end);
exit:
    PyBuffer_Release(&data);
    return found;
}

static PyObject *verify_block(PyObject *module, PyObject *const *args, Py_ssize_t n_args)
{
    const enum rmn_sha256_kernel kernel = kernel_of(module);
    enum rmn_block_status status;
    Py_buffer cid, payload;

    if (check_n_args(n_args, 2, 2) < 0 || PyObject_GetBuffer(args[0], &cid, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    if (PyObject_GetBuffer(args[1], &payload, PyBUF_SIMPLE) < 0) {
        PyBuffer_Release(&cid);
        return NULL;
    }
    PyThreadState *const unlocked = (size_t)payload.len >= UNLOCKED_SIZE_MIN ? PyEval_SaveThread() : NULL;
    status = rmn_verify_block(kernel, cid.buf, (size_t)cid.len, payload.buf, (size_t)payload.len);
    if (unlocked != NULL) {
        PyEval_RestoreThread(unlocked);
    }
    PyBuffer_Release(&payload);
    PyBuffer_Release(&cid);
    return PyLong_FromLong((long)status);
}

/* The walks over frames or sections: each fills a table of rows. */
enum walk { SCAN_FRAMES, VERIFY_FRAMES, VERIFY_SECTIONS };

static PyObject *walk_frames(enum walk walk, PyObject *module, PyObject *const *args, Py_ssize_t n_args)
{
    const size_t row_size = walk == SCAN_FRAMES ? sizeof(struct rmn_frame) : sizeof(struct rmn_block_row);
    const enum rmn_sha256_kernel kernel = kernel_of(module);
    PyObject *found = NULL;
    void *rows = NULL;
    size_t at, n_rows = 0;
    enum rmn_stop stop;
    Py_buffer data;

    if (check_n_args(n_args, 3, 3) < 0 || PyObject_GetBuffer(args[0], &data, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    if (read_offset(args, n_args, &data, &at) < 0) {
        goto exit;
    }
    const Py_ssize_t frames_max = PyNumber_AsSsize_t(args[2], NULL);
    if (frames_max == -1 && PyErr_Occurred()) {
        goto exit;
    }
    if (frames_max < 1 || frames_max > FRAMES_PER_CALL_MAX) {
        PyErr_Format(PyExc_ValueError, "frames_max is 1 to %d", FRAMES_PER_CALL_MAX);
        goto exit;
    }
    /* The smallest frame has two bytes, so little data needs few rows, whatever was asked for. One more, so that the table is never
     * full before frames_max is reached. */
    const size_t frames_there = ((size_t)data.len - at) / 2 + 1;
    const size_t rows_max = (size_t)frames_max < frames_there ? (size_t)frames_max : frames_there;
    rows = PyMem_Malloc(rows_max * row_size);
    if (rows == NULL) {
        PyErr_NoMemory();
        goto exit;
    }
    PyThreadState *const unlocked = (size_t)data.len - at >= UNLOCKED_SIZE_MIN ? PyEval_SaveThread() : NULL;
    if (walk == SCAN_FRAMES) {
        stop = rmn_frames_scan(data.buf, (size_t)data.len, &at, rows, rows_max, &n_rows);
    } else if (walk == VERIFY_FRAMES) {
        stop = rmn_verify_frames(kernel, data.buf, (size_t)data.len, &at, rows, rows_max, &n_rows);
    } else {
        stop = rmn_verify_sections(kernel, data.buf, (size_t)data.len, &at, rows, rows_max, &n_rows);
    }
    if (unlocked != NULL) {
        PyEval_RestoreThread(unlocked);
    }
    found = Py_BuildValue("y#nni", rows, (Py_ssize_t)(n_rows * row_size), (Py_ssize_t)n_rows, (Py_ssize_t)at, (int)stop);
exit:
    PyMem_Free(rows);
    PyBuffer_Release(&data);
    return found;
}

static PyObject *scan_frames(PyObject *module, PyObject *const *args, Py_ssize_t n_args)
{
    return walk_frames(SCAN_FRAMES, module, args, n_args);
}

static PyObject *verify_frames(PyObject *module, PyObject *const *args, Py_ssize_t n_args)
{
    return walk_frames(VERIFY_FRAMES, module, args, n_args);
}

static PyObject *verify_sections(PyObject *module, PyObject *const *args, Py_ssize_t n_args)
{
    return walk_frames(VERIFY_SECTIONS, module, args, n_args);
}

/* What the operating system says of a processor that does not tell programs itself. */
static unsigned long hwcap(void)
{
#if defined(__linux__) && defined(__aarch64__)
    return getauxval(AT_HWCAP);
#else
    return 0;
#endif
}

static PyObject *select_kernel(PyObject *module, PyObject *argument)
{
    struct module_state *const state = PyModule_GetState(module);

    if (!PyUnicode_Check(argument)) {
        PyErr_SetString(PyExc_TypeError, "a kernel is chosen by name");
        return NULL;
    }
    for (unsigned kernel = 0; kernel < RMN_SHA256_N_KERNELS; kernel++) {
        if (rmn_sha256_usable(kernel, hwcap()) && PyUnicode_CompareWithASCIIString(argument, rmn_sha256_name(kernel)) == 0) {
            state->kernel = kernel;
            Py_RETURN_NONE;
        }
    }
    PyErr_Format(PyExc_ValueError, "the kernel %R is not available here", argument);
    return NULL;
}

/* METH_FASTCALL functions have another type than PyCFunction; through void (*)(void) the cast is one that compilers accept. */
#define FASTCALL(function) ((PyCFunction)(void (*)(void))(function))

static PyMethodDef methods[] = {
    {"encode_uvarint", encode_uvarint, METH_O, NULL},
    {"decode_uvarint", FASTCALL(decode_uvarint), METH_FASTCALL, NULL},
    {"parse_cid", FASTCALL(parse_cid), METH_FASTCALL, NULL},
    {"verify_block", FASTCALL(verify_block), METH_FASTCALL, NULL},
    {"scan_frames", FASTCALL(scan_frames), METH_FASTCALL, NULL},
    {"verify_frames", FASTCALL(verify_frames), METH_FASTCALL, NULL},
    {"verify_sections", FASTCALL(verify_sections), METH_FASTCALL, NULL},
    {"select_kernel", select_kernel, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static int add_constants(PyObject *module)
{
    const struct {
        const char *name;
        long value;
    } constants[] = {
        {"UVARINT_SIZE_MAX", RMN_UVARINT_SIZE_MAX},
        {"DIGEST_SIZE_MAX", RMN_DIGEST_SIZE_MAX},
        {"FRAME_TYPE_BLOCK", RMN_FRAME_TYPE_BLOCK},
        {"BLOCK_HEADER_SIZE", RMN_BLOCK_HEADER_SIZE},
        {"BLOCK_PAYLOAD_SIZE_MAX", RMN_BLOCK_PAYLOAD_SIZE_MAX},
        {"BLOCK_BODY_SIZE_MAX", RMN_BLOCK_BODY_SIZE_MAX},
        {"CONTROL_BODY_SIZE_MAX", RMN_CONTROL_BODY_SIZE_MAX},
        {"FRAMES_PER_CALL_MAX", FRAMES_PER_CALL_MAX},
    };

    for (size_t i = 0; i < sizeof constants / sizeof constants[0]; i++) {
        if (PyModule_AddIntConstant(module, constants[i].name, constants[i].value) < 0) {
            return -1;
        }
    }
    return 0;
}

/* KERNELS: the names of the usable ones, the fastest last. That one is selected. */
static int add_kernels(PyObject *module)
{
    struct module_state *const state = PyModule_GetState(module);
    PyObject *kernels = NULL;
    int result = -1;

    PyObject *const names = PyList_New(0);
    if (names == NULL) {
        return -1;
    }
    for (unsigned kernel = 0; kernel < RMN_SHA256_N_KERNELS; kernel++) {
        if (!rmn_sha256_usable(kernel, hwcap())) {
            continue;
        }
        PyObject *const name = PyUnicode_FromString(rmn_sha256_name(kernel));
        const int appended = name == NULL ? -1 : PyList_Append(names, name);
        Py_XDECREF(name);
        if (appended < 0) {
            goto exit;
        }
        state->kernel = kernel;
    }
    kernels = PyList_AsTuple(names);
    if (kernels != NULL) {
        result = PyModule_AddObjectRef(module, "KERNELS", kernels);
    }
exit:
    Py_XDECREF(kernels);
    Py_DECREF(names);
    return result;
}

static int execute(PyObject *module)
{
    return add_kernels(module) < 0 || add_constants(module) < 0 ? -1 : 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)(uintptr_t)execute}, /* through an integer: ISO C has no cast from function to object pointer */
    {0, NULL},
};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "retrieval._native._core",
    .m_size = sizeof(struct module_state),
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__core(void)
{
    return PyModuleDef_Init(&definition);
}
