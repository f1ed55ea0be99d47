/* An HDF5 plugin that asks the running Python for losslessnn's filter.
 *
 * HDF5 loads it from HDF5_PLUGIN_PATH when a file needs the filter, whichever copy of HDF5 that is and whether
 * or not anybody has imported losslessnn. It needs no headers and links to nothing: Python and HDF5 are looked
 * up at run time, so that one build serves every version of both.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>

typedef struct {
    int version;
    int id;
    unsigned encoder_present;
    unsigned decoder_present;
    const char *name;
    int (*can_apply)(long long, long long, long long);
    int (*set_local)(long long, long long, long long);
    size_t (*filter)(unsigned, size_t, const unsigned *, size_t, size_t *, void **);
} filter_class; /* H5Z_class2_t */

static size_t fails(unsigned flags, size_t count, const unsigned *values, size_t nbytes, size_t *size, void **buffer) {
    (void)flags; (void)count; (void)values; (void)nbytes; (void)size; (void)buffer;
    return 0;
}

static const filter_class without_python = {1, FILTER_ID, 0, 1, "losslessnn.neural: needs Python", NULL, NULL, fails};

static void *python(const char *name) {
    return dlsym(RTLD_DEFAULT, name);
}

int H5PLget_plugin_type(void) {
    return 0; /* H5PL_TYPE_FILTER */
}

const void *H5PLget_plugin_info(void) {
    int (*is_initialized)(void) = (int (*)(void))python("Py_IsInitialized");
    int (*lock)(void) = (int (*)(void))python("PyGILState_Ensure");
    void (*unlock)(int) = (void (*)(int))python("PyGILState_Release");
    void *(*import_module)(const char *) = (void *(*)(const char *))python("PyImport_ImportModule");
    void *(*call)(void *, const char *, const char *, ...) =
        (void *(*)(void *, const char *, const char *, ...))python("PyObject_CallMethod");
    void *(*as_pointer)(void *) = (void *(*)(void *))python("PyLong_AsVoidPtr");
    void (*print_error)(void) = (void (*)(void))python("PyErr_Print");
    int (*disable)(void) = (int (*)(void))python("PyGC_Disable"); /* HDF5 is busy: nothing of it may be collected */
    int (*enable)(void) = (int (*)(void))python("PyGC_Enable");
    const void *found = NULL;
    Dl_info caller;

    if (!is_initialized || !lock || !unlock || !import_module || !call || !as_pointer || !print_error ||
        !disable || !enable)
        return &without_python;
    if (!is_initialized() || !dladdr(__builtin_return_address(0), &caller))
        return &without_python;
    int state = lock();
    int collects = disable();
    void *module = import_module("losslessnn.hdf5");
    void *address = module ? call(module, "filter_class_for", "s", caller.dli_fname) : NULL;
    if (address)
        found = as_pointer(address); /* neither reference is given back: both live as long as the process */
    if (!found)
        print_error();
    if (collects)
        enable();
    unlock(state);
    return found ? found : &without_python;
}
