"""The layer, as djangobot 0.1 is pointed at it."""
import os

from channels.asgi import get_channel_layer

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
channel_layer = get_channel_layer()
