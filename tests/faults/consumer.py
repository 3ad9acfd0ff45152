"""Handles Slack's events as an app does, writes down each of them, and answers some.

One line of JSON for each event, written before the next is taken. It reads its channels with channels_redis's own
layer, which gives a message up once it was taken: what is lost between Redis and here is in Redis's own log.
"""

import asyncio
import json
import sys

from channels.exceptions import ChannelFull
from channels_redis.core import RedisChannelLayer
from redis.exceptions import RedisError

AWAY = (RedisError, OSError, asyncio.TimeoutError)
# Of so many messages of people, one is answered.
ANSWERED = 4


class Consumer:
    def __init__(self, url, capacity, records):
        self.layer = RedisChannelLayer(hosts=[{"address": url, "socket_timeout": None}], capacity=capacity)
        self.records = records
        self.seen = set()

    def write(self, record):
        self.records.write(json.dumps(record) + "\n")
        self.records.flush()

    async def read(self, channel, handle):
        while True:
            try:
                message = await self.layer.receive(channel)
            except AWAY:
                await asyncio.sleep(0.05)
                continue
            await handle(message)

    async def event(self, message):
        about = message["djangobot"]
        self.write(
            {
                "channel": message["type"],
                "id": about["id"],
                "attempt": about["attempt"],
                "conversation": message.get("channel") or message["item"]["channel"],
                "ts": message.get("ts") or message.get("event_ts"),
                "text": message.get("text") or message.get("reaction", ""),
            }
        )
        text = message.get("text", "")
        if message["type"] == "slack.message" and text.startswith("in ") and about["id"] not in self.seen:
            number = int(text.split()[1])
            if number % ANSWERED == 0:
                await self.answer(message["channel"], number)
        self.seen.add(about["id"])

    async def answer(self, conversation, number):
        label = f"~a/{conversation}/{number}~"
        message = {"text": label, "channel": conversation}
        # Of the others nobody hears, so that a failure becomes a dead letter.
        if number % (2 * ANSWERED) == 0:
            message.update(reply_channel="faults.outcome", id=label)
        self.write({"sends": label})
        await send(self.layer, message)

    async def outcome(self, message):
        self.write({"outcome": message["type"], "request": message["request"], "error": message.get("error", "")})


async def send(layer, message):
    """Sends once. What a failure left behind is in Redis's log, and so is not sent again."""
    while True:
        try:
            return await layer.send("slack.send", message)
        except ChannelFull:
            await asyncio.sleep(0.02)
        except AWAY:
            return await there(layer)


async def there(layer):
    """Waits until Redis answers."""
    while True:
        try:
            return await layer.connection(0).ping()
        except AWAY:
            await asyncio.sleep(0.05)


async def main():
    url, capacity, path = sys.argv[1:]
    with open(path, "a") as records:
        consumer = Consumer(url, int(capacity), records)
        print("ready", flush=True)
        await asyncio.gather(
            consumer.read("slack.message", consumer.event),
            consumer.read("slack.app_mention", consumer.event),
            consumer.read("slack.reaction_added", consumer.event),
            consumer.read("faults.outcome", consumer.outcome),
        )


if __name__ == "__main__":
    asyncio.run(main())
