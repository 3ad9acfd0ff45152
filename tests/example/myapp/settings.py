import os

SECRET_KEY = "only-for-this-example"

INSTALLED_APPS = ["channels"]

ASGI_APPLICATION = "myapp.asgi.application"

REDIS = os.environ.get("DJANGOBOT_EXAMPLE_REDIS", "redis://127.0.0.1:6399")

CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        "CONFIG": {
            # Without socket_timeout=None, redis-py 8 ends a worker that gets no message for 5 seconds.
            "hosts": [{"address": REDIS, "socket_timeout": None}],
        },
    },
}
