from asgiref.sync import async_to_sync
from channels.consumer import SyncConsumer


class SlackConsumer(SyncConsumer):
    """Gets Slack's events, and echoes what people write."""

    def slack_hello(self, event):
        print("connected to Slack", flush=True)

    def slack_message(self, event):
        print(f"message: {event}", flush=True)
        # Our own answer comes back as a message too. Edits, joins and the like have a subtype.
        if "bot_id" in event or "subtype" in event:
            return
        answer = {
            "text": f"echo {event['text']}",
            "channel": event["channel"],
            # The result comes to this consumer's own channel, as slack.sent or slack.failed.
            "reply_channel": self.channel_name,
        }
        async_to_sync(self.channel_layer.send)("slack.send", answer)

    def slack_sent(self, result):
        print(f"sent: {result}", flush=True)

    def slack_failed(self, result):
        print(f"failed: {result}", flush=True)
