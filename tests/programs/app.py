"""The app's side of a channel layer, with nothing but stock channels_redis.

Does what lines of JSON on its input tell it, and prints what it receives as lines of JSON. Bytes become {"bytes": text}.
"""

import asyncio
import json
import os
import sys
import traceback

import redis.asyncio
from channels_redis.core import RedisChannelLayer


def show(line):
    print(json.dumps(line, default=lambda value: {"bytes": value.decode()}), flush=True)


async def read(layer, channel):
    try:
        while True:
            message = await layer.receive(channel)
            show({"channel": channel, "message": message})
    except Exception:
        traceback.print_exc()
        os._exit(1)


async def main(config):
    layer = RedisChannelLayer(**config)
    readers = set()

    def start_reading(channel):
        readers.add(asyncio.create_task(read(layer, channel)))

    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        match json.loads(line):
            case {"receive": channels}:
                for channel in channels:
                    start_reading(channel)
            case {"new_channel": prefix}:
                name = await layer.new_channel(prefix)
                start_reading(name)
                show({"new_channel": name})
            case {"send": channel, "message": message}:
                await layer.send(channel, message)
            case {"put": key, "member": member, "score": score}:
                # What no channel layer would write.
                server = redis.asyncio.from_url(config["hosts"][0]["address"])
                await server.zadd(key, {bytes.fromhex(member): score})
                await server.aclose()


asyncio.run(main(json.loads(sys.argv[1])))
