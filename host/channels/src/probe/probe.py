# Reads a Django project's CHANNEL_LAYERS, in the project's own Python, and prints one marked line of JSON.
#
# Run as ``python -c SOURCE MARK TARGET ALIAS`` in the project's folder, where SOURCE is layer.py and this file;
# ALIAS may be empty. It runs on any Python from 3.5 on, for projects of any age, and needs no packages but those of the
# project.

import asyncio
import base64
import importlib
import inspect
import json
import os
import re
import sys
import traceback
from functools import partial

DEPTH = 32
FLAGS = ((re.IGNORECASE, "i"), (re.MULTILINE, "m"), (re.DOTALL, "s"), (re.VERBOSE, "x"), (re.ASCII, "a"))


def read(target, alias):
    module_name, _, attribute = target.partition(":")
    try:
        import django  # noqa: F401
    except ImportError as error:
        if getattr(error, "name", "django") != "django":
            raise broken("django")
        raise Refusal("no-django", version="%d.%d.%d" % sys.version_info[:3])
    module = load(module_name)
    named = find(module, module_name, attribute) if attribute else None
    source, layers = settings_of(module, module_name)
    if not isinstance(layers, dict) or not layers:
        raise Refusal("no-channel-layers", settings=source)
    alias = alias or alias_of(named, layers) or "default"
    if alias not in layers:
        raise Refusal("no-alias", alias=alias, aliases=[str(name) for name in layers], settings=source)
    layer = layers[alias]
    if not isinstance(layer, dict) or not layer.get("BACKEND"):
        raise Refusal("no-backend", alias=alias, settings=source)
    answer = described(str(alias), layer["BACKEND"], layer.get("CONFIG") or {}, source)
    answer["config"] = encoded(answer["config"])
    answer["alias"] = str(alias)
    answer["aliases"] = [str(name) for name in layers]
    answer["settings_module"] = source
    answer["versions"] = versions()
    return answer


def load(name):
    try:
        return importlib.import_module(name)
    except ImportError as error:
        missing = getattr(error, "name", None)
        if missing and type(error).__name__ == "ModuleNotFoundError" and (name + ".").startswith(missing + "."):
            raise Refusal("no-module", module=name, missing=missing)
        raise broken(name)
    except BaseException as error:  # SystemExit too: a module that exits has not been imported.
        if type(error).__name__ == "ImproperlyConfigured" and not os.environ.get("DJANGO_SETTINGS_MODULE"):
            raise Refusal("no-settings", module=name)
        raise broken(name)


def broken(name):
    return Refusal("import", module=name, traceback=traceback.format_exc())


def find(module, name, path):
    value = module
    for part in path.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            # The command line of 2016 named channel_layer; a current project need not have it.
            if path == "channel_layer":
                return None
            names = [each for each in dir(value) if not each.startswith("_")]
            raise Refusal("no-attribute", module=name, attribute=path, names=names)
        except BaseException:
            raise broken(name)
    return value


def settings_of(module, name):
    """The settings' name, and their CHANNEL_LAYERS: of the module itself if it is settings, else Django's."""
    if hasattr(module, "CHANNEL_LAYERS") or hasattr(module, "INSTALLED_APPS"):
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", name)
        return name, getattr(module, "CHANNEL_LAYERS", None)
    from django.conf import settings

    if not settings.configured and not os.environ.get("DJANGO_SETTINGS_MODULE"):
        raise Refusal("no-settings", module=name)
    try:
        return os.environ.get("DJANGO_SETTINGS_MODULE"), getattr(settings, "CHANNEL_LAYERS", None)
    except BaseException:
        raise broken(os.environ.get("DJANGO_SETTINGS_MODULE") or name)


def alias_of(layer, layers):
    """The alias of a layer object: the one that Channels made it for, else the only one of its class."""
    if layer is None:
        return None
    for manager in ("channels.layers", "channels.asgi"):
        made = getattr(sys.modules.get(manager), "channel_layers", None)
        for alias, backend in getattr(made, "backends", {}).items():
            # Channels 1 wraps it. Not plain getattr: the pub/sub layer's wants a running event loop.
            if backend is layer or getattr(backend, "__dict__", {}).get("channel_layer") is layer:
                return alias
    of_class = [alias for alias, entry in layers.items() if isinstance(entry, dict) and is_of(layer, entry.get("BACKEND"))]
    return of_class[0] if len(of_class) == 1 else None


def is_of(layer, backend):
    if not isinstance(backend, str):
        return backend is type(layer)
    module, _, name = backend.rpartition(".")
    return type(layer) is getattr(sys.modules.get(module), name, None)


def encoded(config):
    found = encode(config)
    if isinstance(config, dict) and isinstance(config.get("channel_capacity"), dict):
        # Its first matching pattern wins, and JSON's objects have no order.
        found["channel_capacity"] = items(config["channel_capacity"], (id(config), id(config["channel_capacity"])))
    return found


def encode(value, inside=()):
    """A value that JSON has no form for becomes an object with one key for its type; ``inside`` are the ids around it."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return plain(value, str.__str__(value))
    if isinstance(value, int) and -(2**63) <= value < 2**64:
        return int(value)
    if isinstance(value, float) and abs(value) <= sys.float_info.max:
        return float(value)
    if isinstance(value, (bytes, bytearray)):
        return {"__bytes__": base64.b64encode(bytes(value)).decode("ascii")}
    if isinstance(value, type(re.compile(""))) and isinstance(value.pattern, str):
        flags = "".join(letter for flag, letter in FLAGS if value.flags & flag)
        return {"__regex__": "(?%s)%s" % (flags, value.pattern) if flags else value.pattern}
    if isinstance(value, os.PathLike):
        return encode(os.fspath(value), inside)
    if type(value).__module__ == "django.utils.functional":  # A lazy string, or a lazy object.
        return lazy(value)
    if len(inside) < DEPTH and id(value) not in inside:
        within = inside + (id(value),)
        if isinstance(value, (list, tuple)):
            return [encode(each, within) for each in value]
        if isinstance(value, dict):
            if all(isinstance(key, str) for key in value):
                return {str.__str__(key): encode(each, within) for key, each in value.items()}
            return items(value, within)
    return unsupported(value)


def items(mapping, within):
    return {"__items__": [[encode(key, within), encode(value, within)] for key, value in mapping.items()]}


def lazy(value):
    try:
        return plain(value, str(value))
    except Exception:
        return unsupported(value)


def plain(value, text):
    try:
        text.encode("utf-8")
    except UnicodeError:
        return unsupported(value)
    return text


def unsupported(value):
    """Names the type only, because the text of a value may be a secret."""
    kind = type(value)
    name = kind.__name__ if kind.__module__ == "builtins" else "%s.%s" % (kind.__module__, kind.__name__)
    return {"__unsupported__": name.encode("ascii", "backslashreplace").decode("ascii")[:200]}


def versions():
    found = {"python": "%d.%d.%d" % sys.version_info[:3]}
    for name in ("django", "channels", "channels_redis", "redis", "asgi_redis", "channels_valkey", "valkey"):
        found[name] = version_of(name)
    return found


def version_of(name):
    try:
        from importlib import metadata

        return metadata.version(name)
    except ImportError:  # It is not installed, or this Python (before 3.8) has no such module.
        version = getattr(sys.modules.get(name), "__version__", None)
        return version if isinstance(version, str) else None


def still(kept, pipe):
    """The descriptor of our pipe, or stderr's if the project has closed it, as daemons do."""
    try:
        return kept if os.path.samestat(os.fstat(kept), pipe) else 2
    except OSError:
        return 2


def main():
    mark, target, alias = sys.argv[1:4]
    # The project's own output must not be mistaken for the answer: from here on it goes to stderr.
    kept = os.dup(1)
    pipe = os.fstat(kept)
    os.dup2(2, 1)
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())
    sys.argv = [sys.argv[0]]
    try:
        answer = read(target, alias)
    except Refusal as refusal:
        answer = refusal.answer
    sys.stdout.flush()
    sys.stderr.flush()
    with os.fdopen(still(kept, pipe), "w") as answer_to:
        answer_to.write("\n%s%s\n" % (mark, json.dumps(answer)))
    # A thread that the project started on import must not keep this process alive.
    os._exit(0)


main()
