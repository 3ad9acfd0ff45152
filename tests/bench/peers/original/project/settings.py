"""A Channels 1 project with nothing in it but its layer."""
import os

SECRET_KEY = "not a secret"
INSTALLED_APPS = ["channels"]
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "asgi_redis.RedisChannelLayer",
        "ROUTING": "project.routing.channel_routing",
        "CONFIG": {
            "hosts": [("127.0.0.1", int(os.environ["REDIS_PORT"]))],
            "capacity": int(os.environ["CAPACITY"]),
            "expiry": int(os.environ["EXPIRY"]),
        },
    }
}
