"""Drives the Web API client of Slack's Python SDK; prints what it saw as one line of JSON."""

import json
import sys
import time

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.http_retry.builtin_handlers import RateLimitErrorRetryHandler

base_url, token = sys.argv[1:3]
client = WebClient(token=token, base_url=base_url)
seen = {}


def error_of(call, **arguments):
    try:
        call(**arguments)
    except SlackApiError as error:
        return error.response["error"]
    return None


auth = client.auth_test()
seen["user"] = auth["user"]
seen["scopes"] = auth.headers["x-oauth-scopes"]

members = [user for page in client.users_list(limit=1000) for user in page["members"]]
users = {user["id"] for user in members}
seen["users"] = len(users)
channels = [channel for page in client.conversations_list(limit=50) for channel in page["channels"]]
seen["channels"] = len(channels)
general = next(channel["id"] for channel in channels if channel["is_general"])

posted = client.chat_postMessage(
    channel=general,
    text="one",
    blocks=[{"type": "section", "text": {"type": "mrkdwn", "text": "*one*"}}],
    metadata={"event_type": "t", "event_payload": {"n": 1}},
)
ts = posted["ts"]
client.chat_update(channel=general, ts=ts, text="two")
client.reactions_add(channel=general, timestamp=ts, name="tada")
message = client.conversations_history(channel=general, limit=1, include_all_metadata=True)["messages"][0]
seen["message"] = {key: message[key] for key in ("text", "reactions", "metadata")}
client.reactions_remove(channel=general, timestamp=ts, name="tada")
client.chat_delete(channel=general, ts=ts)
# Slack opens no direct message with a deactivated user.
others = [user["id"] for user in members if not user["deleted"] and user["id"] not in (auth["user_id"], "USLACKBOT")]
opened = client.conversations_open(users=[others[0]])
seen["im"] = opened["channel"]["id"][0]

seen["errors"] = [
    error_of(client.chat_postMessage, channel="C404", text="x"),
    error_of(client.chat_postMessage, channel=general),
    error_of(client.chat_update, channel=general, ts=ts, text="x"),
    error_of(client.users_info, user="U404"),
    error_of(client.reactions_remove, channel=general, timestamp=ts, name="tada"),
    error_of(client.api_call, api_method="no.such"),
    error_of(WebClient(token="nonsense", base_url=base_url).auth_test),
]

# The test has prescribed a 429 for the next post.
patient = WebClient(token=token, base_url=base_url, retry_handlers=[RateLimitErrorRetryHandler(max_retry_count=1)])
begun = time.monotonic()
patient.chat_postEphemeral(channel=general, user=auth["user_id"], text="late")
seen["waited"] = time.monotonic() - begun >= 1
print(json.dumps(seen))
