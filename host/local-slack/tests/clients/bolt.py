"""An app of Bolt for Python in Socket Mode: it tells of what it gets, and answers what can be answered."""

import json
import sys
from threading import Lock

from slack_bolt import App
from slack_bolt.adapter.socket_mode import SocketModeHandler
from slack_sdk import WebClient

base_url, token, app_token = sys.argv[1:4]
output = Lock()


def tell(**what):
    with output:
        print(json.dumps(what, separators=(",", ":")), flush=True)


app = App(client=WebClient(token=token, base_url=base_url))


@app.event("message")
def message(event, body):
    tell(event=event, event_id=body["event_id"])


@app.event("reaction_added")
def reaction(event, say):
    say(f"thanks for :{event['reaction']}:", channel=event["item"]["channel"])


@app.command("/deploy")
def deploy(ack, respond, command):
    ack(f"deploying {command['text']}")
    respond("deployed", response_type="in_channel")


@app.action("go")
def go(ack, body, client):
    ack()
    client.views_open(trigger_id=body["trigger_id"], view={"type": "modal", "callback_id": "v"})
    tell(action=body["actions"][0]["action_id"], user=body["user"]["id"])


@app.view("v")
def submitted(ack):
    ack(response_action="errors", errors={"block": "too short"})


@app.options("pick")
def options(ack):
    ack(options=[{"text": {"type": "plain_text", "text": "one"}, "value": "1"}])


@app.shortcut("cut")
def shortcut(ack, shortcut):
    ack()
    tell(shortcut=shortcut["callback_id"])


handler = SocketModeHandler(app, app_token, ping_interval=1)
handler.connect()
tell(connected=True)
for line in sys.stdin:
    pass
handler.close()
