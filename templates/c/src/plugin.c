/* Greets whoever arrives. */

#include "usher.h"

#define TEXT(literal) {literal, sizeof(literal) - 1}

static const usher_subscription subscriptions[] = {
    {TEXT("arrivals"), TEXT("{\"exact\":{\"type\":\"guest.arrived\"}}"), {0}},
};

{% if config or state %}static const usher_capability capabilities[] = {
{% if config %}    {TEXT("config"), TEXT("`greeting`: what to say")},
{% endif %}{% if state %}    {TEXT("state"), TEXT("to count each guest's visits")},
{% endif %}};

{% endif %}void usher_describe(usher_description *description) {
    description->name = usher_text("{{ name }}");
    description->version = usher_text("1.0.0");
    description->summary = usher_text("Greets whoever arrives");
    description->subscriptions.ptr = subscriptions;
    description->subscriptions.len = sizeof subscriptions / sizeof *subscriptions;
{% if config or state %}    description->capabilities.ptr = capabilities;
    description->capabilities.len = sizeof capabilities / sizeof *capabilities;
{% endif %}}

void usher_handle(const usher_delivery *delivery, usher_answer *answer) {
    if (!delivery->event.subject.is_some) {
        usher_reject(answer, usher_text("the event has no subject: it should be the guest's name"));
        return;
    }
    usher_string guest = delivery->event.subject.val;
    usher_string greeting = usher_text("Hello");
{% if config or state %}    usher_string error;
{% endif %}{% if config %}    usher_option_string set;
    if (!usher_config_get("greeting", &set, &error)) {
        usher_retry(answer, error);
        return;
    }
    if (set.is_some) greeting = set.val;
{% endif %}{% if state %}    int64_t visit;
    if (!usher_state_increment("visits", guest, 1, &visit, &error)) {
        usher_retry(answer, error);
        return;
    }
    usher_log(USHER_INFO, usher_format("visit %lld of %.*s", visit, (int)guest.len, guest.ptr));
{% else %}    usher_log(USHER_INFO, usher_format("%.*s is here", (int)guest.len, guest.ptr));
{% endif %}
    usher_string text = usher_format("%.*s, %.*s!", (int)greeting.len, greeting.ptr,
                                     (int)guest.len, guest.ptr);
    text = usher_json_string(text);
    usher_emission *greeted = usher_emit(answer, "guest.greeted");
    greeted->subject = usher_some(guest);
{% if state %}    usher_emission_json(greeted, usher_format("{\"text\":%.*s,\"visit\":%lld}",
                                              (int)text.len, text.ptr, visit));
{% else %}    usher_emission_json(greeted, usher_format("{\"text\":%.*s}", (int)text.len, text.ptr));
{% endif %}}
