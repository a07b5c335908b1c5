/* What a listener in C meets that others don't. */

#include "usher.h"

#define TEXT(literal) {literal, sizeof(literal) - 1}

static const usher_subscription subscriptions[] = {
    {TEXT("all"), TEXT("{\"prefix\":{\"type\":\"quirk.\"}}"), {0}},
};

static const usher_capability capabilities[] = {
    {TEXT("config"), TEXT("to test")},
    {TEXT("state"), TEXT("to test")},
};

void usher_describe(usher_description *description) {
    description->name = usher_text("quirks-c");
    description->version = usher_text("1.0.0");
    description->summary = usher_text("Does what its events say");
    description->subscriptions.ptr = subscriptions;
    description->subscriptions.len = 1;
    description->capabilities.ptr = capabilities;
    description->capabilities.len = 2;
}

__attribute__((noinline)) static void broken(void) { __builtin_trap(); }

void usher_handle(const usher_delivery *delivery, usher_answer *answer) {
    usher_string type = delivery->event.type;
    usher_string key = usher_text("thrown");
    usher_string error;
    if (usher_equals(type, "quirk.throw")) {
        int64_t count;
        if (!usher_state_increment("count", key, 1, &count, &error)) {
            usher_retry(answer, error);
            return;
        }
        usher_log(USHER_INFO, usher_format("about to fail %lld", count));
        broken();
    } else if (usher_equals(type, "quirk.retry")) {
        usher_retry(answer, usher_text("later"));
        answer->val.failure.val.retry.after_ms = (usher_option_u64){true, 500};
    } else if (usher_equals(type, "quirk.reject")) {
        usher_reject(answer, usher_text("never"));
    } else if (usher_equals(type, "quirk.bytes")) {
        static const uint8_t bytes[] = {255, 0};
        usher_option_bytes kept;
        usher_string k = usher_text("k");
        if (!usher_state_set("bytes", k, (usher_bytes){bytes, 2}, &error) ||
            !usher_state_get("bytes", k, &kept, &error)) {
            usher_retry(answer, error);
            return;
        }
        static usher_extension extensions[] = {
            {TEXT("text"), {USHER_TEXT, {.text = TEXT("\xc3\xa9")}}},
            {TEXT("number"), {USHER_INTEGER, {.integer = 7}}},
            {TEXT("yes"), {USHER_BOOLEAN, {.boolean = true}}},
        };
        usher_emission *emission = usher_emit(answer, "bytes");
        emission->data = kept;
        emission->datacontenttype = usher_some(usher_text("application/octet-stream"));
        emission->extensions.ptr = extensions;
        emission->extensions.len = 3;
    }
}
