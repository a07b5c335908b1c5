/* For Usher listeners in C.
 *
 * The types are those of the contract (wit/deps/usher/plugin.wit) as the component model's canonical
 * ABI lays them out in memory, so that nothing is converted. A listener defines usher_describe and
 * usher_handle; memory from usher_alloc, which all functions here use, is freed once the answer has
 * been read.
 */

#ifndef USHER_H
#define USHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* UTF-8, not terminated. */
typedef struct {
    const char *ptr;
    size_t len;
} usher_string;

typedef struct {
    const uint8_t *ptr;
    size_t len;
} usher_bytes;

typedef struct {
    bool is_some;
    usher_string val;
} usher_option_string;

typedef struct {
    bool is_some;
    usher_bytes val;
} usher_option_bytes;

typedef struct {
    bool is_some;
    uint32_t val;
} usher_option_u32;

typedef struct {
    bool is_some;
    uint64_t val;
} usher_option_u64;

enum {
    USHER_BOOLEAN,
    USHER_INTEGER,
    USHER_TEXT,
    USHER_BINARY,
    USHER_URI,
    USHER_URI_REFERENCE,
    USHER_TIMESTAMP
};

/* The value of an extension attribute. */
typedef struct {
    uint8_t tag;
    union {
        bool boolean;
        int32_t integer;
        usher_string text; /* also of the URIs and the timestamp */
        usher_bytes binary;
    } val;
} usher_value;

typedef struct {
    usher_string name;
    usher_value value;
} usher_extension;

typedef struct {
    usher_extension *ptr;
    size_t len;
} usher_extensions;

/* A CloudEvent. */
typedef struct {
    usher_string id;
    usher_string source;
    usher_string type;
    usher_option_string subject;
    usher_option_string time;
    usher_option_string datacontenttype;
    usher_option_string dataschema;
    usher_extensions extensions;
    usher_option_bytes data;
} usher_event;

/* One attempt to deliver an event to a subscription. */
typedef struct {
    usher_event event;
    usher_string subscription;
    uint32_t attempt; /* from 1 */
    uint64_t sequence;
    uint64_t deadline_ms; /* since 1970-01-01 UTC */
    bool replay;
} usher_delivery;

/* An event to emit; everything that is zero is absent. */
typedef struct {
    usher_string type;
    usher_option_string subject;
    usher_option_string datacontenttype;
    usher_option_string dataschema;
    usher_extensions extensions;
    usher_option_bytes data;
    usher_option_u64 delay_ms;
} usher_emission;

typedef struct {
    usher_string name;
    usher_string filter; /* JSON, of the CloudEvents Subscriptions API 1.0 */
    usher_option_u32 max_in_flight;
} usher_subscription;

typedef struct {
    usher_string name; /* config, secrets, state, blobs or http */
    usher_string reason;
} usher_capability;

typedef struct {
    usher_string name;
    usher_string version;
    usher_string summary;
    struct {
        const usher_subscription *ptr;
        size_t len;
    } subscriptions;
    struct {
        const usher_capability *ptr;
        size_t len;
    } capabilities;
} usher_description;

/* The answer to a delivery: emissions, or a failure. */
typedef struct {
    bool is_failure;
    union {
        struct {
            usher_emission *ptr;
            size_t len;
        } emissions;
        struct {
            uint8_t tag; /* 0: retry, 1: reject */
            union {
                struct {
                    usher_string reason;
                    usher_option_u64 after_ms;
                } retry;
                usher_string reject;
            } val;
        } failure;
    } val;
} usher_answer;

/* To be defined by the listener. The answer begins as an acknowledgement without emissions. */
void usher_describe(usher_description *description);
void usher_handle(const usher_delivery *delivery, usher_answer *answer);

/* Zeroed memory until the answer has been read. Traps when there is none. */
void *usher_alloc(size_t size, size_t align);

/* A C string as a value; its bytes must stay where they are. */
usher_string usher_text(const char *text);
usher_option_string usher_some(usher_string text);
bool usher_equals(usher_string text, const char *other);

/* Formats like printf (%s %.*s %d %u %lld %llu %%) into memory of usher_alloc. */
usher_string usher_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Text as a JSON string, with its quotes. */
usher_string usher_json_string(usher_string text);

/* Adds an emission, at most 100; fill in the rest. */
usher_emission *usher_emit(usher_answer *answer, const char *type);
void usher_emission_json(usher_emission *emission, usher_string json);

/* Makes the answer a failure. Nothing of the delivery is kept. */
void usher_retry(usher_answer *answer, usher_string reason);
void usher_reject(usher_answer *answer, usher_string reason);

/* Lines in the router's log. */
typedef enum { USHER_TRACE, USHER_DEBUG, USHER_INFO, USHER_WARN, USHER_ERROR } usher_level;
void usher_log(usher_level level, usher_string line);

/* The functions below return false if the host refused; *error says why then. */

/* A setting, or a secret that is granted; absent if it isn't set. */
bool usher_config_get(const char *key, usher_option_string *value, usher_string *error);

/* The plugin's own keys and values, in named buckets. */
bool usher_state_get(const char *bucket, usher_string key, usher_option_bytes *value,
                     usher_string *error);
bool usher_state_set(const char *bucket, usher_string key, usher_bytes value,
                     usher_string *error);
bool usher_state_delete(const char *bucket, usher_string key, usher_string *error);
/* Adds to the decimal number at a key, which begins with 0. */
bool usher_state_increment(const char *bucket, usher_string key, int64_t delta, int64_t *sum,
                           usher_string *error);

/* Stores content, visible once the delivery is acknowledged. */
bool usher_blob_put(usher_bytes content, const char *content_type, usher_string *digest,
                    usher_string *error);
/* The blob of a digest, whichever plugin put it; absent if there is none. */
bool usher_blob_get(usher_string digest, usher_option_bytes *content, usher_string *error);

#endif
