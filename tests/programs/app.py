"""The app's side of a stock channel layer.

What lines of JSON on its input tell it, it does; what it receives it prints as lines of JSON. Bytes become {"bytes": text}.
"""

import asyncio
import json
import os
import sys
import traceback

import redis.asyncio
from django.utils.module_loading import import_string


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


async def main(backend, config):
    layer = import_string(backend)(**config)
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
            case {"send": channel, "expression": expression}:
                # What JSON has not: bytes, tuples, NaN, keys that are no texts.
                await layer.send(channel, eval(expression))
            case {"group": group, "channel": channel, "message": message}:
                await layer.group_add(group, channel)
                await layer.group_send(group, message)
            case {"put": key, "member": member, "score": score}:
                # What no channel layer would write.
                server = redis.asyncio.from_url(config["hosts"][0]["address"])
                await server.zadd(key, {bytes.fromhex(member): score})
                await server.aclose()


asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
