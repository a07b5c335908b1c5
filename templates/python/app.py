"""Greets whoever arrives."""

{% if config %}import usher_config
{% endif %}import usher_log
{% if state %}import usher_state
{% endif %}from usher import Delivery, Description, Emission, Reject, event_type

plugin = Description(
    "{{ name }}",
    "1.0.0",
    "Greets whoever arrives",
    subscriptions={"arrivals": event_type("guest.arrived")},
    wants={
{% if config %}        "config": "`greeting`: what to say",
{% endif %}{% if state %}        "state": "to count each guest's visits",
{% endif %}{% if http %}        "http": "say why, and ask with usher_http",
{% endif %}    },
)


def handle(delivery: Delivery) -> list[Emission]:
    guest = delivery.event.subject
    if guest is None:
        raise Reject("the event has no subject: it should be the guest's name")
{% if config %}    greeting = usher_config.get("greeting", "Hello")
{% else %}    greeting = "Hello"
{% endif %}    data = {"text": f"{greeting}, {guest}!"}
{% if state %}    data["visit"] = usher_state.Bucket("visits").increment(guest)
    usher_log.info(f"visit {data['visit']} of {guest}")
{% else %}    usher_log.info(f"{guest} is here")
{% endif %}    return [Emission("guest.greeted", data, subject=guest)]
