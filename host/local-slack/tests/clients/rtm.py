"""Drives the RTM client of Slack's Python SDK: one step for each line of input, one line of JSON for each event."""

import json
import sys
from threading import Lock

from slack_sdk.rtm_v2 import RTMClient

output = Lock()


def tell(**what):
    with output:
        print(json.dumps(what, separators=(",", ":")), flush=True)


client = RTMClient(
    token=sys.argv[2],
    base_url=sys.argv[1],
    ping_interval=1,
    on_error_listeners=[lambda error: tell(error=repr(error))],
)


def each_message(raw):
    # The SDK keeps a bot's own messages from its listeners, so that they are taken before.
    tell(event=json.loads(raw))


client.on_message_listeners.append(each_message)
client.connect()
tell(connected=client.session_id())

for line in sys.stdin:
    step = json.loads(line)
    if "send" in step:
        client.send(step["send"])
    elif "session" in step:
        tell(connected=client.session_id(), alive=client.is_connected())

client.close()
tell(closed=True)
# The SDK's threads would keep the interpreter.
sys.stdout.flush()
sys.exit(0)
