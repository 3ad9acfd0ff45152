# Reads a channel layer's settings as Python understands them. The layer is made as Channels makes it, and its own
# connection pools have the addresses of its servers; nothing is connected. probe.py, which follows in the same script, has
# the imports.

KNOWN = (
    "channels_redis.core.RedisChannelLayer",
    "channels_redis.pubsub.RedisPubSubChannelLayer",
    "channels_valkey.core.ValkeyChannelLayer",
    "channels_valkey.pubsub.ValkeyPubSubChannelLayer",
    "asgi_redis.core.RedisChannelLayer",
)
PACKAGES = ("channels_redis", "channels_valkey", "asgi_redis", "channels", "asgiref")


class Refusal(Exception):
    """An answer that is an error: its kind, and the values of that kind."""

    def __init__(self, kind, **details):
        Exception.__init__(self, kind)
        self.answer = dict(details, error=kind)


def described(alias, backend, config, source):
    """The answer's part about the layer: its class, the known class that it is, and the settings in one plain form."""
    own = class_of(alias, backend, source)
    base = next((each for each in own.__mro__ if each.__module__.partition(".")[0] in PACKAGES), own)
    answer = {"class": dotted(own), "backend": dotted(base), "config": config, "overrides": overrides(own, base)}
    if dotted(base) not in KNOWN or not isinstance(config, dict):
        return answer
    try:
        layer, given = made(own, base, config)
        answer["config"], answer["providers"] = in_loop(plain_config(layer, base, given))
    except Refusal as refusal:
        refusal.answer.update(alias=alias, settings=source)
        raise
    except Exception as error:
        raise unusable(error, config, alias=alias, place="", settings=source)
    return answer


def class_of(alias, backend, source):
    if not isinstance(backend, str):
        return backend
    module, _, name = backend.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except BaseException as error:
        missing = getattr(error, "name", None) if type(error).__name__ == "ModuleNotFoundError" else None
        raise Refusal(
            "no-class", alias=alias, backend=backend, missing=missing, traceback=traceback.format_exc(), settings=source
        )


def dotted(kind):
    return "%s.%s" % (kind.__module__, kind.__name__)


def overrides(own, base):
    """The names of the known class's attributes that the project's classes override."""
    found = []
    for each in own.__mro__[: own.__mro__.index(base)]:
        for name in sorted(vars(each)):
            if name == "__init__" or not name.startswith("__") and hasattr(base, name):
                found.append("%s.%s" % (each.__name__, name))
    return found


def made(own, base, config):
    """The layer, and the arguments that the known class got in the end: a project's class may change them."""
    original, calls = base.__init__, []

    def recording(self, *args, **kwargs):
        calls.append((args, kwargs))
        original(self, *args, **kwargs)

    base.__init__ = recording
    try:
        layer = own(**config)
    finally:
        base.__init__ = original
    args, kwargs = calls[-1] if calls else ((), config)
    parameters = inspect.signature(original).parameters.values()
    names = [each.name for each in parameters if each.kind == each.POSITIONAL_OR_KEYWORD][1:]
    # The pub/sub layer passes on its positional arguments.
    given = dict(zip(names or ["hosts", "prefix", "on_disconnect", "on_reconnect"], args))
    given.update(kwargs)
    return layer, given


def in_loop(coroutine):
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop.run_until_complete(coroutine)


async def plain_config(layer, base, given):
    """The settings as a dict whose hosts are keywords of a connection, and the credential providers that were asked."""
    config, providers = dict(given), []
    holder, makers = pools_of(layer, base)
    if makers is not None:
        config.pop("connection_kwargs", None)
        config["hosts"] = []
        for index, make in enumerate(makers):
            try:
                config["hosts"].append(await host_of(make(), providers))
            except Exception as error:
                raise unusable(error, given, place="[\"hosts\"][%d]" % index)
    for name in ("prefix", "expiry", "group_expiry", "capacity"):
        if name in vars(holder):
            config[name] = vars(holder)[name]
    for name in ("expiry", "group_expiry", "capacity"):
        if name in config:
            config[name] = number(config[name])
    if isinstance(config.get("channel_capacity"), dict):
        config["channel_capacity"] = {key: number(value) for key, value in config["channel_capacity"].items()}
    keys = config.get("symmetric_encryption_keys")
    if isinstance(keys, (set, frozenset)):
        config["symmetric_encryption_keys"] = list(keys)
    return config, providers


def pools_of(layer, base):
    """The object with the layer's settings, and the function that makes its pools; ``None`` if a version has none."""
    package, module = base.__module__.split(".")
    if module == "pubsub":
        layer = layer._get_layer()
        create = getattr(sys.modules[base.__module__], "create_pool", None)
        return layer, None if create is None else [partial(create, each.host) for each in layer._shards]
    if package == "asgi_redis":
        return layer, [partial(getattr, each, "connection_pool") for each in layer._connection_list]
    if not hasattr(layer, "create_pool"):
        return layer, None
    return layer, [partial(layer.create_pool, index) for index in range(len(layer.hosts))]


async def host_of(pool, providers):
    """A pool's connection, as the keywords that make one like it."""
    keywords = pool.connection_kwargs
    connection = pool.connection_class(**keywords)

    def get(name):
        return getattr(connection, name, keywords.get(name))

    host = {"socket_timeout": get("socket_timeout"), "socket_connect_timeout": get("socket_connect_timeout")}
    manager = getattr(pool, "sentinel_manager", None)
    if manager is not None:
        host["master_name"] = text(pool.service_name)
        host["sentinels"] = [await host_of(each.connection_pool, providers) for each in manager.sentinels]
    elif getattr(connection, "host", None) is None and get("path"):
        host["path"] = absolute(get("path"))
    else:
        host["host"], host["port"] = text(get("host")), get("port")
    if get("db"):
        host["db"] = get("db")
    credentials = await credentials_of(connection, get, providers)
    if len(credentials) > 1:
        host["username"] = text(credentials[0])
    if credentials:
        host["password"] = text(credentials[-1])
    host.update(tls_of(connection))
    return host


async def credentials_of(connection, get, providers):
    """The credentials of the connection: none, a password, or a user and a password."""
    provider = get("credential_provider")
    if provider is None:
        username, password = get("username"), get("password")
        if username:
            return username, password or ""
        return (password,) if password else ()
    providers.append(dotted(type(provider)))
    asynchronous = getattr(provider, "get_credentials_async", None)
    answer = provider.get_credentials() if asynchronous is None else await asynchronous()
    return tuple(answer)


def tls_of(connection):
    """The checks of the server's certificate, and the connection's own certificate."""
    context = getattr(connection, "ssl_context", None)
    if context is None and hasattr(connection, "cert_reqs"):
        context = connection
    if context is None:
        return {}

    def get(name):
        return getattr(context, name, None)

    # Old versions do not check names, and have no keyword for that.
    checked = {"ssl": True, "ssl_check_hostname": bool(get("check_hostname"))}
    checked["ssl_cert_reqs"] = ("none", "optional", "required")[int(get("cert_reqs") or 0)]
    for name in ("keyfile", "certfile", "ca_certs", "ca_path"):
        if get(name):
            checked["ssl_" + name] = absolute(get(name))
    if get("ca_data"):
        data = get("ca_data")
        checked["ssl_ca_data"] = data if isinstance(data, str) else bytes(data)
    if get("min_version"):
        checked["ssl_min_version"] = int(get("min_version"))
    if get("ciphers"):
        checked["ssl_ciphers"] = text(get("ciphers"))
    if get("password") and get("certfile"):
        checked["ssl_key_data"] = opened(get("keyfile") or get("certfile"), get("password"))
    return checked


def opened(path, password):
    """An encrypted private key as plain PEM. The project has the library for that if channels_redis can encrypt."""
    try:
        from cryptography.hazmat.primitives import serialization
    except ImportError:
        raise ValueError("ssl_password needs the package cryptography in the project's Python")
    password = password() if callable(password) else password
    password = password.encode("utf-8") if isinstance(password, str) else bytes(password)
    with open(path, "rb") as file:
        pem = file.read()
    start = re.search(b"-----BEGIN [A-Z ]*PRIVATE KEY-----", pem)
    key = serialization.load_pem_private_key(pem[start.start() if start else 0 :], password)
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, plain).decode("ascii")


def text(value):
    """The text that redis-py sends to the server."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).decode("utf-8")
    return value if isinstance(value, str) else str(value)


def absolute(path):
    return os.path.abspath(os.fsdecode(path))


def number(value):
    """A number as Python accepts it: written as text, or infinite."""
    if isinstance(value, float) and value == float("inf"):
        return 10**15
    if isinstance(value, (int, float)) or value is None:
        return value
    try:
        return int(value)
    except (TypeError, ValueError):
        return value


def unusable(error, config, **details):
    """Python's error, without its text if that may quote a password."""
    kind = type(error).__name__
    words = kind if is_secretive(config.get("hosts")) else "%s: %s" % (kind, error)
    return Refusal("layer", reason=words, **details)


def is_secretive(value):
    if isinstance(value, (str, bytes)):
        return "@" in (value if isinstance(value, str) else value.decode("latin-1"))
    if isinstance(value, dict):
        return any("pass" in str(key) or is_secretive(each) for key, each in value.items())
    return isinstance(value, (list, tuple, set, frozenset)) and any(is_secretive(each) for each in value)


