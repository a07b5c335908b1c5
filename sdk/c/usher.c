/* Memory, exports and host calls of a listener in C; usher.h is documented. */

#include "usher.h"

#include <stdarg.h>

#define IMPORT(module, name) __attribute__((import_module(module), import_name(name)))
#define EXPORT(name) __attribute__((export_name(name)))
#define PAGE_BYTES 65536u

/* --- Memory: everything is freed at once, when the host has read the answer. ---------------- */

extern unsigned char __heap_base;
static uintptr_t next;

static void *allocate(size_t size, size_t align) {
    if (next == 0) next = (uintptr_t)&__heap_base;
    uintptr_t begin = (next + align - 1) & ~(uintptr_t)(align - 1);
    uintptr_t end = begin + size;
    if (end < begin) __builtin_trap();
    uintptr_t have = (uintptr_t)__builtin_wasm_memory_size(0) * PAGE_BYTES;
    if (end > have) {
        size_t pages = (end - have + PAGE_BYTES - 1) / PAGE_BYTES;
        if (__builtin_wasm_memory_grow(0, pages) == (size_t)-1) __builtin_trap();
    }
    next = end;
    return (void *)begin;
}

void *usher_alloc(size_t size, size_t align) {
    unsigned char *memory = allocate(size, align);
    for (size_t at = 0; at < size; at++) memory[at] = 0;
    return memory;
}

EXPORT("cabi_realloc")
void *usher_realloc(void *old, size_t old_size, size_t align, size_t size) {
    unsigned char *memory = allocate(size, align);
    for (size_t at = 0; at < old_size && at < size; at++) memory[at] = ((unsigned char *)old)[at];
    return memory;
}

static void free_all(void) { next = (uintptr_t)&__heap_base; }

/* --- Exports. -------------------------------------------------------------------------------- */

static usher_description description;
static usher_answer answer;
#define EMISSIONS_MAX 100

EXPORT("usher:plugin/listener@0.1.0#describe")
usher_description *usher_export_describe(void) {
    usher_describe(&description);
    return &description;
}

EXPORT("cabi_post_usher:plugin/listener@0.1.0#describe")
void usher_export_described(usher_description *described) {
    (void)described;
    free_all();
}

EXPORT("usher:plugin/listener@0.1.0#handle")
usher_answer *usher_export_handle(const usher_delivery *delivery) {
    answer = (usher_answer){0};
    usher_handle(delivery, &answer);
    return &answer;
}

EXPORT("cabi_post_usher:plugin/listener@0.1.0#handle")
void usher_export_handled(usher_answer *handled) {
    (void)handled;
    free_all();
}

/* --- Text. ----------------------------------------------------------------------------------- */

usher_string usher_text(const char *text) {
    size_t len = 0;
    while (text[len] != 0) len++;
    return (usher_string){text, len};
}

usher_option_string usher_some(usher_string text) { return (usher_option_string){true, text}; }

bool usher_equals(usher_string text, const char *other) {
    size_t at = 0;
    for (; at < text.len; at++)
        if (other[at] == 0 || text.ptr[at] != other[at]) return false;
    return other[at] == 0;
}

/* Text that is written, or only measured while there is no memory yet. */
typedef struct {
    char *to;
    size_t len;
} writer;

static void put(writer *out, char c) {
    if (out->to) out->to[out->len] = c;
    out->len++;
}

static void put_text(writer *out, usher_string text) {
    for (size_t at = 0; at < text.len; at++) put(out, text.ptr[at]);
}

static void put_number(writer *out, unsigned long long number) {
    char digits[20];
    int count = 0;
    do digits[count++] = (char)('0' + number % 10);
    while ((number /= 10) != 0);
    while (count > 0) put(out, digits[--count]);
}

static void put_signed(writer *out, long long number) {
    if (number < 0) put(out, '-');
    put_number(out, number < 0 ? 0ull - (unsigned long long)number : (unsigned long long)number);
}

static void put_format(writer *out, const char *format, va_list args) {
    for (; *format; format++) {
        if (*format != '%') {
            put(out, *format);
            continue;
        }
        int longs = 0;
        int precision = -1;
        format++;
        if (format[0] == '.' && format[1] == '*') {
            precision = va_arg(args, int);
            format += 2;
        }
        while (*format == 'l') {
            longs++;
            format++;
        }
        switch (*format) {
        case 's': {
            usher_string text = {va_arg(args, const char *), 0};
            while ((precision < 0 || text.len < (size_t)precision) && text.ptr[text.len]) text.len++;
            put_text(out, text);
            break;
        }
        case 'd':
            put_signed(out, longs > 1 ? va_arg(args, long long) : va_arg(args, int));
            break;
        case 'u':
            put_number(out, longs > 1 ? va_arg(args, unsigned long long) : va_arg(args, unsigned));
            break;
        case 0: return;
        default: put(out, *format);
        }
    }
}

usher_string usher_format(const char *format, ...) {
    writer out = {NULL, 0};
    va_list args;
    va_start(args, format);
    put_format(&out, format, args);
    va_end(args);
    out.to = allocate(out.len, 1);
    out.len = 0;
    va_start(args, format);
    put_format(&out, format, args);
    va_end(args);
    return (usher_string){out.to, out.len};
}

static void put_json(writer *out, usher_string text) {
    put(out, '"');
    for (size_t at = 0; at < text.len; at++) {
        char c = text.ptr[at];
        if (c == '"' || c == '\\') {
            put(out, '\\');
            put(out, c);
        } else if ((unsigned char)c < 0x20) {
            put_text(out, usher_text("\\u00"));
            put(out, "0123456789abcdef"[c >> 4]);
            put(out, "0123456789abcdef"[c & 15]);
        } else {
            put(out, c);
        }
    }
    put(out, '"');
}

usher_string usher_json_string(usher_string text) {
    writer out = {NULL, 0};
    put_json(&out, text);
    out.to = allocate(out.len, 1);
    out.len = 0;
    put_json(&out, text);
    return (usher_string){out.to, out.len};
}

/* --- Answers. -------------------------------------------------------------------------------- */

usher_emission *usher_emit(usher_answer *to, const char *type) {
    if (to->is_failure || to->val.emissions.len >= EMISSIONS_MAX) __builtin_trap();
    if (to->val.emissions.ptr == NULL)
        to->val.emissions.ptr =
            usher_alloc(EMISSIONS_MAX * sizeof(usher_emission), _Alignof(usher_emission));
    usher_emission *emission = &to->val.emissions.ptr[to->val.emissions.len++];
    emission->type = usher_text(type);
    return emission;
}

void usher_emission_json(usher_emission *emission, usher_string json) {
    emission->datacontenttype = usher_some(usher_text("application/json"));
    emission->data = (usher_option_bytes){true, {(const uint8_t *)json.ptr, json.len}};
}

void usher_retry(usher_answer *to, usher_string reason) {
    *to = (usher_answer){.is_failure = true};
    to->val.failure.val.retry.reason = reason;
}

void usher_reject(usher_answer *to, usher_string reason) {
    *to = (usher_answer){.is_failure = true};
    to->val.failure.tag = 1;
    to->val.failure.val.reject = reason;
}

/* --- Host calls. Each result is a byte that says whether it is an error, then the value. ------ */

IMPORT("wasi:logging/logging@0.1.0-draft", "log")
void host_log(int32_t level, const char *context, size_t context_len, const char *line, size_t len);

void usher_log(usher_level level, usher_string line) {
    host_log((int32_t)level, "", 0, line.ptr, line.len);
}

typedef struct {
    bool is_error;
    union {
        usher_option_string value;
        struct {
            uint8_t tag;
            usher_string words;
        } error;
    } val;
} config_result;

IMPORT("wasi:config/store@0.2.0-draft", "get")
void host_config_get(const char *key, size_t len, config_result *result);

bool usher_config_get(const char *key, usher_option_string *value, usher_string *error) {
    config_result result;
    usher_string name = usher_text(key);
    host_config_get(name.ptr, name.len, &result);
    if (result.is_error) *error = result.val.error.words;
    else *value = result.val.value;
    return !result.is_error;
}

/* An error of wasi:keyvalue: no-such-store, access-denied or other(string). */
typedef struct {
    uint8_t tag;
    usher_string words;
} state_error;

static bool state_failed(const state_error *failed, usher_string *error) {
    static const char *const known[] = {
        "there is no such store",
        "state is not granted: the operator has to add state = true",
    };
    *error = failed->tag < 2 ? usher_text(known[failed->tag]) : failed->words;
    return false;
}

typedef struct {
    bool is_error;
    union {
        int32_t bucket;
        state_error error;
    } val;
} open_result;

IMPORT("wasi:keyvalue/store@0.2.0-draft2", "open")
void host_open(const char *name, size_t len, open_result *result);

IMPORT("wasi:keyvalue/store@0.2.0-draft2", "[resource-drop]bucket")
void host_close(int32_t bucket);

static bool open_bucket(const char *name, int32_t *bucket, usher_string *error) {
    open_result result;
    usher_string text = usher_text(name);
    host_open(text.ptr, text.len, &result);
    if (result.is_error) return state_failed(&result.val.error, error);
    *bucket = result.val.bucket;
    return true;
}

typedef struct {
    bool is_error;
    union {
        usher_option_bytes value;
        state_error error;
    } val;
} get_result;

IMPORT("wasi:keyvalue/store@0.2.0-draft2", "[method]bucket.get")
void host_get(int32_t bucket, const char *key, size_t len, get_result *result);

bool usher_state_get(const char *bucket, usher_string key, usher_option_bytes *value,
                     usher_string *error) {
    int32_t handle;
    get_result result;
    if (!open_bucket(bucket, &handle, error)) return false;
    host_get(handle, key.ptr, key.len, &result);
    host_close(handle);
    if (result.is_error) return state_failed(&result.val.error, error);
    *value = result.val.value;
    return true;
}

typedef struct {
    bool is_error;
    state_error error;
} done_result;

IMPORT("wasi:keyvalue/store@0.2.0-draft2", "[method]bucket.set")
void host_set(int32_t bucket, const char *key, size_t key_len, const uint8_t *value, size_t len,
              done_result *result);

bool usher_state_set(const char *bucket, usher_string key, usher_bytes value,
                     usher_string *error) {
    int32_t handle;
    done_result result;
    if (!open_bucket(bucket, &handle, error)) return false;
    host_set(handle, key.ptr, key.len, value.ptr, value.len, &result);
    host_close(handle);
    return result.is_error ? state_failed(&result.error, error) : true;
}

IMPORT("wasi:keyvalue/store@0.2.0-draft2", "[method]bucket.delete")
void host_delete(int32_t bucket, const char *key, size_t len, done_result *result);

bool usher_state_delete(const char *bucket, usher_string key, usher_string *error) {
    int32_t handle;
    done_result result;
    if (!open_bucket(bucket, &handle, error)) return false;
    host_delete(handle, key.ptr, key.len, &result);
    host_close(handle);
    return result.is_error ? state_failed(&result.error, error) : true;
}

typedef struct {
    bool is_error;
    union {
        int64_t sum;
        state_error error;
    } val;
} sum_result;

IMPORT("wasi:keyvalue/atomics@0.2.0-draft2", "increment")
void host_increment(int32_t bucket, const char *key, size_t len, int64_t delta, sum_result *result);

bool usher_state_increment(const char *bucket, usher_string key, int64_t delta, int64_t *sum,
                           usher_string *error) {
    int32_t handle;
    sum_result result;
    if (!open_bucket(bucket, &handle, error)) return false;
    host_increment(handle, key.ptr, key.len, delta, &result);
    host_close(handle);
    if (result.is_error) return state_failed(&result.val.error, error);
    *sum = result.val.sum;
    return true;
}

/* An error of usher:plugin/blobs; each case has words. */
typedef struct {
    uint8_t tag;
    usher_string words;
} blob_error;

typedef struct {
    bool is_error;
    union {
        usher_string digest;
        blob_error error;
    } val;
} put_result;

IMPORT("usher:plugin/blobs@0.1.0", "put")
void host_blob_put(const uint8_t *content, size_t len, const char *type, size_t type_len,
                   put_result *result);

bool usher_blob_put(usher_bytes content, const char *content_type, usher_string *digest,
                    usher_string *error) {
    put_result result;
    usher_string type = usher_text(content_type);
    host_blob_put(content.ptr, content.len, type.ptr, type.len, &result);
    if (result.is_error) *error = result.val.error.words;
    else *digest = result.val.digest;
    return !result.is_error;
}

typedef struct {
    usher_string digest;
    uint64_t size_bytes;
    usher_string content_type;
    usher_bytes content;
} blob;

typedef struct {
    bool is_error;
    union {
        struct {
            bool is_some;
            blob val;
        } value;
        blob_error error;
    } val;
} blob_result;

IMPORT("usher:plugin/blobs@0.1.0", "get")
void host_blob_get(const char *digest, size_t len, blob_result *result);

bool usher_blob_get(usher_string digest, usher_option_bytes *content, usher_string *error) {
    blob_result result;
    host_blob_get(digest.ptr, digest.len, &result);
    if (result.is_error) {
        *error = result.val.error.words;
        return false;
    }
    content->is_some = result.val.value.is_some;
    content->val = result.val.value.val.content;
    return true;
}
