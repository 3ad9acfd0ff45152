"""Drives the Socket Mode client of Slack's Python SDK: it tells of all messages, and acknowledges all but some."""

import json
import sys
from threading import Lock

from slack_sdk import WebClient
from slack_sdk.socket_mode import SocketModeClient
from slack_sdk.socket_mode.response import SocketModeResponse

base_url, token, app_token = sys.argv[1:4]
output = Lock()


def tell(**what):
    with output:
        print(json.dumps(what, separators=(",", ":")), flush=True)


def each_request(client, request):
    tell(
        type=request.type,
        payload=request.payload,
        attempt=request.retry_attempt,
        reason=request.retry_reason,
        accepts=request.accepts_response_payload,
    )
    if request.type == "events_api" and request.payload.get("event", {}).get("text") == "ignore me":
        return
    client.send_socket_mode_response(SocketModeResponse(envelope_id=request.envelope_id))


client = SocketModeClient(
    app_token=app_token,
    web_client=WebClient(token=token, base_url=base_url),
    ping_interval=1,
    on_error_listeners=[lambda error: tell(error=repr(error))],
)
client.socket_mode_request_listeners.append(each_request)
client.connect()
tell(connected=client.session_id())
for line in sys.stdin:
    pass
client.close()
