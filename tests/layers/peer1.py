"""As peer.py, for the layer of Channels 1: asgi_redis, whose calls block."""

import json
import sys

from asgi_redis import RedisChannelLayer

layer = None


def open_layer(config):
    global layer
    layer = RedisChannelLayer(**config)


def receive(channel):
    while True:
        _, message = layer.receive([channel], block=True)
        if message is not None:
            return message


while True:
    line = sys.stdin.readline()
    if not line:
        break
    method, *arguments = json.loads(line)
    methods = {"open": open_layer, "send": lambda channel, message: layer.send(channel, message), "receive": receive}
    try:
        answer = {"ok": methods[method](*arguments)}
    except Exception as error:
        answer = {"error": "%s: %s" % (type(error).__name__, error)}
    print("answer", json.dumps(answer), flush=True)
