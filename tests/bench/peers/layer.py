"""The peer in Python: stock channels_redis. Usage: layer.py URL OPERATION COUNT WIDTH; answers with one line of JSON."""
import asyncio
import json
import pathlib
import sys
import time

from channels_redis.core import RedisChannelLayer

MESSAGE = json.loads((pathlib.Path(__file__).parent / "message.json").read_bytes())
CHANNEL = "slack.message"


async def send(layer, count, width):
    """Sends one by one, `width` at a time."""

    async def one_by_one(share):
        for _ in range(share):
            await layer.send(CHANNEL, MESSAGE)

    await asyncio.gather(*[one_by_one(count // width) for _ in range(width)])


async def receive(layer, count, width):
    for _ in range(count):
        await layer.receive(CHANNEL)


async def paced(layer, count, rate):
    """Sends `rate` a second, each with the time of its sending."""
    due = time.perf_counter()
    for number in range(count):
        await layer.send(CHANNEL, MESSAGE | {"sent": time.time()})
        due += 1 / rate
        await asyncio.sleep(max(0, due - time.perf_counter()))


async def latencies(layer, count, width):
    """Receives, and prints the milliseconds since each one's `sent`."""
    first = asyncio.ensure_future(layer.receive(CHANNEL))
    await asyncio.sleep(0.3)  # until the connection waits
    print("ready", flush=True)
    took = []
    for number in range(count):
        message = await (layer.receive(CHANNEL) if number else first)
        took.append((time.time() - message["sent"]) * 1e3)
    print(json.dumps(took), flush=True)


async def main(url, operation, count, width):
    # Without the timeout redis-py 8 gives up a blocking read before Redis answers it.
    host = {"address": url, "socket_timeout": None}
    layer = RedisChannelLayer(hosts=[host], capacity=10_000_000, expiry=600)
    work = {"send": send, "receive": receive, "paced": paced, "latencies": latencies}[operation]
    # The connection is made before the clock starts.
    await layer.connection(0).ping()
    cpu, began = time.process_time(), time.perf_counter()
    await work(layer, count, width)
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
    if operation in ("send", "receive"):
        print(json.dumps({"messages": count, "seconds": seconds, "cpu_seconds": cpu_seconds}), flush=True)
    await layer.close_pools()


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
