"""As app.py, with Channels 1's asgi_redis, which blocks: a thread for each channel."""

import json
import sys
import threading

from asgi_redis import RedisChannelLayer


printing = threading.Lock()


def show(line):
    with printing:
        print(json.dumps(line, default=lambda value: {"bytes": value.decode()}), flush=True)


def read(channel):
    layer = RedisChannelLayer(**config)
    while True:
        name, message = layer.receive([channel], block=True)
        if name is not None:
            show({"channel": name, "message": message})


config = json.loads(sys.argv[1])
layer = RedisChannelLayer(**config)
for line in sys.stdin:
    command = json.loads(line)
    if "receive" in command:
        for channel in command["receive"]:
            threading.Thread(target=read, args=[channel], daemon=True).start()
    else:
        layer.send(command["send"], command["message"])
