"""The peer in Socket Mode: an app of Bolt for Python whose handler gives each message to the channel layer.

Usage: bolt.py REDIS_URL SLACK_API_URL BOT_TOKEN APP_TOKEN.
"""
import sys

from asgiref.sync import async_to_sync
from channels_redis.core import RedisChannelLayer
from slack_bolt import App
from slack_bolt.adapter.socket_mode import SocketModeHandler
from slack_sdk import WebClient

redis_url, api_url, bot_token, app_token = sys.argv[1:]
# Without the timeout redis-py 8 gives up a blocking read before Redis answers it.
layer = RedisChannelLayer(
    hosts=[{"address": redis_url, "socket_timeout": None}], capacity=10_000_000, expiry=600
)
app = App(client=WebClient(token=bot_token, base_url=api_url))


@app.event("message")
def message(event):
    async_to_sync(layer.send)("slack.message", event | {"type": "slack.message"})


SocketModeHandler(app, app_token).start()
