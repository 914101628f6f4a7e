"""The WebSocket at `/ws/events/`: live events of the user's account (events.py)."""

from outlast.live import LiveConsumer


class EventsConsumer(LiveConsumer):
    """Sends `{"type": …, "time": …, "text": …}`; docs/live.md shows how to add events."""
