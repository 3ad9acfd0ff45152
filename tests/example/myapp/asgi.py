import os

from channels.layers import get_channel_layer
from channels.routing import ChannelNameRouter, ProtocolTypeRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "myapp.settings")

django_application = get_asgi_application()

from myapp.consumers import SlackConsumer  # noqa: E402 (consumers may need Django's models, so they come after it)

application = ProtocolTypeRouter(
    {
        "http": django_application,
        "channel": ChannelNameRouter(
            {
                "slack.message": SlackConsumer.as_asgi(),
                "slack.hello": SlackConsumer.as_asgi(),
            }
        ),
    }
)

channel_layer = get_channel_layer()
