"""Sends what it is told to, line by line, as a view or a management command of an app does."""

import asyncio
import json
import sys

from channels_redis.core import RedisChannelLayer

from consumer import send


async def main():
    url, capacity = sys.argv[1:]
    layer = RedisChannelLayer(hosts=[{"address": url, "socket_timeout": None}], capacity=int(capacity))
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        await send(layer, json.loads(line))
    print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
