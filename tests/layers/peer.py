"""The Python side of the layers' tests: stock channels_redis, driven by lines of JSON.

Each line on stdin is [method, argument, ...]; its answer is one line on stdout, "answer " and JSON:
{"ok": value} or {"error": "the exception's class: its text"}.
"""

import asyncio
import json
import sys

from channels.layers import BaseChannelLayer
from django.utils.module_loading import import_string
from redis import asyncio as redis


# What the layer's connections are named.
LAYER = "layer"


class Peer:
    layer: BaseChannelLayer

    async def open(self, backend, config):
        self.layer = import_string(backend)(**config)
        for host in getattr(self.layer, "hosts", []):
            host["client_name"] = LAYER
        # It looks at one host at a time for so long; seconds, of which redis takes whole ones here.
        self.layer.brpop_timeout = 1

    async def send(self, channel, *messages):
        for message in messages:
            await self.layer.send(channel, message)

    async def receive(self, channel):
        return await self.layer.receive(channel)

    async def receive_many(self, channel, count):
        return [await self.layer.receive(channel) for _ in range(count)]

    async def give_up_receiving(self, channel, seconds):
        """Waits for a message and is cancelled while it waits."""
        try:
            return await asyncio.wait_for(self.layer.receive(channel), seconds)
        except asyncio.TimeoutError:
            # The connection that waited is closed in the loop's next round; until then the server may give it a message.
            await asyncio.sleep(0)
            return None

    async def forget_connections(self):
        """Closes the layer's connections, and waits until its servers have seen that."""
        await self.layer.close_pools()
        for host in self.layer.hosts:
            client = redis.Redis.from_url(host["address"])
            try:
                while any(other["name"] == LAYER for other in await client.client_list()):
                    await asyncio.sleep(0.01)
            finally:
                await client.aclose()

    async def new_channel(self):
        return await self.layer.new_channel()

    async def group_add(self, group, *channels):
        for channel in channels:
            await self.layer.group_add(group, channel)

    async def group_discard(self, group, channel):
        await self.layer.group_discard(group, channel)

    async def group_send(self, group, message):
        await self.layer.group_send(group, message)

    async def valid_names(self, names):
        return [name for name in names if self.is_valid(name)]

    def is_valid(self, name):
        try:
            return bool(self.layer.valid_channel_name(name))
        except TypeError:
            return False

    async def redis(self, url, *command):
        client = redis.Redis.from_url(url, decode_responses=True)
        try:
            return await client.execute_command(*command)
        finally:
            await client.aclose()


async def main():
    peer = Peer()
    while line := await asyncio.to_thread(sys.stdin.readline):
        method, *arguments = json.loads(line)
        try:
            answer = {"ok": await getattr(peer, method)(*arguments)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print("answer", json.dumps(answer), flush=True)


asyncio.run(main())
