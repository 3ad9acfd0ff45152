// The module "djangobot-plugin", which scripts import. `__host` exists only while this file is evaluated.
const host = globalThis.__host;

// RFC 6901: in a key, `~` is written `~0` and `/` is written `~1`.
const pointerOf = (key) => "/" + key.replaceAll("~", "~0").replaceAll("/", "~1");
const keysOf = (pointer) =>
  pointer.split("/").slice(1).map((key) => key.replaceAll("~1", "/").replaceAll("~0", "~"));
const isContainer = (value) => value !== null && typeof value === "object";
const copy = (value) => (isContainer(value) ? JSON.parse(JSON.stringify(value)) : value);

// ---------------------------------------------------------------------------------------------------------- the event

let handlers, config;
// The edits of the current call, in the form that the engine takes, and copies of the edited members of the event, in
// which a script sees its own edits.
let edits = [], edited = new Map();

/** The member `key` of the event, with the script's own edits. Others may change it in place. */
function member(key) {
  if (!edited.has(key)) edited.set(key, host.get(pointerOf(key)));
  return edited.get(key);
}

/** The container that a pointer's last key stands in, within the copy of its member. */
function parentOf(pointer, keys) {
  let at = member(keys[0]);
  for (const key of keys.slice(1, -1)) at = isContainer(at) ? at[key] : undefined;
  return isContainer(at) ? at : undefined;
}

function checkPointer(pointer) {
  if (typeof pointer !== "string" || (pointer !== "" && !pointer.startsWith("/"))) {
    throw new TypeError(`${JSON.stringify(pointer)} is not a JSON pointer, which begins with a slash, as "/text" does`);
  }
}

/** The keys of a pointer that an edit may have. */
function editable(pointer) {
  checkPointer(pointer);
  const keys = keysOf(pointer);
  const fixed = host.isInbound() ? ["type", "djangobot", "reply_channel"] : ["type", "djangobot", "reply_channel", "method", "id"];
  if (keys.length === 0) throw new TypeError("the whole event can't be replaced by an edit; return replace(...) instead");
  if (fixed.includes(keys[0])) {
    throw new TypeError(`a plugin can't edit /${keys[0]}, since it decides where the event goes; it can emit an event of another kind instead`);
  }
  return keys;
}

/** The value of an edit as the event gets it: a scalar, or JSON text. */
function json(pointer, value) {
  if (typeof value === "string") return [value.toWellFormed()];
  if (typeof value === "number" && !Number.isFinite(value)) throw new RangeError(`${value} at ${pointer}: JSON has no such number`);
  if (value === null || ["number", "boolean", "bigint"].includes(typeof value)) return [value];
  const text = JSON.stringify(value);
  if (text === undefined) throw new TypeError(`the value for ${pointer} is a ${typeof value}, which JSON does not have`);
  return isContainer(JSON.parse(text)) ? [text, true] : [JSON.parse(text)];
}

// A property that the class does not have is a field of the event: `event.text` is `event.get("/text")`.
const fields = new Proxy(Object.create(null), {
  get: (_, key) => (typeof key === "string" ? event.get(pointerOf(key)) : undefined),
  set: (_, key, value) => (event.set(pointerOf(key), value), true),
  has: (_, key) => typeof key === "string" && event.get(pointerOf(key)) !== undefined,
});

class Event {
  get id() { return host.id(); }
  get kind() { return host.kind(); }
  get inbound() { return host.isInbound(); }
  get answerable() { return host.isAnswerable(); }

  get(pointer) {
    checkPointer(pointer);
    if (edited.size === 0) return host.get(pointer);
    const keys = keysOf(pointer);
    if (keys.length > 0 && !edited.has(keys[0])) return host.get(pointer);
    if (keys.length > 0) return copy(keys.slice(1).reduce((at, key) => (isContainer(at) && Object.hasOwn(at, key) ? at[key] : undefined), member(keys[0])));
    const whole = host.get("");
    for (const [key, value] of edited) value === undefined ? delete whole[key] : (whole[key] = copy(value));
    return whole;
  }

  select(...pointers) {
    if (edited.size > 0) return pointers.map((pointer) => this.get(pointer));
    pointers.forEach(checkPointer);
    return host.select(pointers);
  }

  set(pointer, value) {
    const keys = editable(pointer);
    // So that `event.set("/name", user?.name)` is safe.
    if (value === undefined) return this;
    const given = json(pointer, value);
    const own = given.length === 2 ? JSON.parse(given[0]) : given[0];
    if (keys.length === 1) {
      edited.set(keys[0], own);
    } else {
      const parent = parentOf(pointer, keys);
      const last = keys.at(-1);
      if (!parent) throw new RangeError(`${pointer} can't be set, because the event has no object or array at ${pointer.slice(0, pointer.lastIndexOf("/"))}`);
      if (Array.isArray(parent) && last === "-") parent.push(own);
      else if (Array.isArray(parent) && !(last in parent && /^\d+$/.test(last))) {
        throw new RangeError(`${pointer} can't be set, because the array has no element ${last}; "-" appends one`);
      } else parent[last] = own;
    }
    edits.push([pointer, ...given]);
    return this;
  }

  remove(pointer) {
    const keys = editable(pointer);
    if (this.get(pointer) === undefined) return this;
    if (keys.length === 1) edited.set(keys[0], undefined);
    else {
      const parent = parentOf(pointer, keys);
      Array.isArray(parent) ? parent.splice(Number(keys.at(-1)), 1) : delete parent[keys.at(-1)];
    }
    edits.push([pointer]);
    return this;
  }

  json() { return edited.size === 0 ? host.json() : JSON.stringify(this.get("")); }
}
Object.setPrototypeOf(Event.prototype, fields);
// `delete event.text` can't be seen by the proxy behind the prototype, so the event itself is one.
const event = new Proxy(new Event(), {
  deleteProperty: (target, key) => (target.remove(pointerOf(String(key))), true),
});

// ----------------------------------------------------------------------------------------------------------- verdicts

const verdict = Symbol("verdict");

export function plugin(given) {
  if (handlers) throw new Error("plugin() was called a second time; a script has one handler");
  handlers = typeof given === "function" ? { event: given } : given;
  if (typeof handlers?.event !== "function") {
    handlers = undefined;
    throw new TypeError("plugin() takes a function (event, config) => ..., or an object with such a function as `event`");
  }
  return handlers;
}

export const drop = (reason = "dropped by the plugin") => ({ [verdict]: { drop: String(reason).toWellFormed() } });

export const replace = (...events) => ({
  [verdict]: { replace: events.flat().map(({ kind, body = {} }) => [String(kind), JSON.stringify(body)]) },
});

/** Answers a slash command or a click in the app's place. */
export const answer = (message) => ({
  [verdict]: { answer: JSON.stringify(typeof message === "string" ? { text: message } : message) },
});

/** The event comes again after so many milliseconds. */
export const defer = (ms) => ({ [verdict]: { defer: Math.round(ms) } });

function verdictOf(returned) {
  if (returned?.[verdict]) return returned[verdict];
  if (returned !== undefined && returned !== event) {
    throw new TypeError(`the handler returned ${shown(returned)}; it may return drop(...), replace(...), answer(...), defer(...), or nothing`);
  }
  return edits.length === 0 ? undefined : { edits };
}

// ----------------------------------------------------------------------------------------------------- the host's part

export const emit = (kind, body = {}) => host.emit(String(kind), JSON.stringify(body));

const ifGiven = (find) => (word) => (word === undefined || word === null ? undefined : find(String(word)) ?? undefined);
const named = (user) => user && Object.assign(user, { shownName: user.displayName || user.realName || user.name });
export const roster = {
  get me() { return host.me() ?? undefined; },
  user: ifGiven((id) => named(host.user(id))),
  users: (ids) => host.users(ids.map(String)).map((user) => named(user) ?? undefined),
  conversation: ifGiven(host.conversation),
  usergroup: ifGiven(host.usergroup),
  bot: ifGiven(host.bot),
  findUsers: (name) => host.findUsers(String(name)).map(named),
  findConversations: (name) => host.findConversations(String(name)),
  findUsergroups: (handle) => host.findUsergroups(String(handle)),
  select: (table, id, ...pointers) => host.rosterSelect(String(table), String(id), pointers) ?? undefined,
};

export const store = {
  get(key) {
    const text = host.storeGet(String(key)) ?? undefined;
    if (text === undefined) return undefined;
    try {
      return JSON.parse(text);
    } catch {
      throw new SyntaxError(`store.get("${key}"): the value is not JSON; only values that store.set wrote can be read`);
    }
  },
  set(key, value, { ttlMs } = {}) {
    const text = JSON.stringify(value);
    if (text === undefined) throw new TypeError(`store.set("${key}"): the value is ${typeof value}, which JSON does not have`);
    host.storeSet(String(key), text, ttlMs);
  },
  delete: (key) => host.storeDelete(String(key)),
  increment: (key, by = 1) => host.storeIncrement(String(key), by),
};

export const slack = {
  send: (message) => host.send(JSON.stringify(message)),
  call: (method, args = {}) => JSON.parse(host.call(String(method), JSON.stringify(args))),
};

export const secret = (name) => host.secret(String(name)) ?? undefined;

export async function fetch(url, { method = "GET", headers = {}, body = "", timeoutMs } = {}) {
  const pairs = Object.entries(headers).map(([name, value]) => [name, String(value)]);
  const [status, received, text] = host.fetch(method, String(url), pairs, String(body), timeoutMs);
  return {
    status,
    ok: status >= 200 && status < 300,
    headers: Object.fromEntries(received.map(([name, value]) => [name.toLowerCase(), value])),
    text: async () => text,
    json: async () => JSON.parse(text),
  };
}

// ------------------------------------------------------------------------------------------------------ log and errors

const shown = (value) => {
  if (typeof value === "string") return value;
  if (value === event) return host.json();
  if (value instanceof Error) return describe(value);
  if (typeof value === "function") return `function ${value.name || "without a name"}`;
  try {
    return JSON.stringify(value, (_, inner) => (typeof inner === "bigint" ? String(inner) : inner)) ?? String(value);
  } catch {
    return String(value);
  }
};
// One line of the log has no line break in it, so that a text with several lines becomes several lines.
const writer = (level) => (...values) => {
  for (const line of values.map(shown).join(" ").toWellFormed().split(/\r?\n/)) host.log(level, line);
};
export const log = Object.fromEntries(["trace", "debug", "info", "warn", "error"].map((level) => [level, writer(level)]));
globalThis.console = { ...log, log: log.info };

// As many callers as say where an error came from.
const CALLERS = 4;

function describe(error) {
  if (!(error instanceof Error)) return `the script threw ${shown(error)}, which is not an Error`;
  const frames = (error.stack ?? "").split("\n").map((frame) => frame.trim());
  const own = frames.filter((frame) => frame && !frame.includes("djangobot-plugin:") && !frame.includes("(native)"));
  const cause = error.cause === undefined ? "" : `; caused by ${describe(error.cause)}`;
  return [`${error.name}: ${error.message}`, ...own.slice(0, CALLERS)].join(" ") + cause;
}

// --------------------------------------------------------------------------------------- what the engine calls, by name

host.describe = (error) => describe(error).toWellFormed();

host.start = (main, exported, given) => {
  config = given;
  if (!handlers && exported !== undefined) plugin(exported);
  if (!handlers) {
    throw new Error(`${main} has no handler; end it with: export default plugin((event, config) => { ... })`);
  }
  return handlers.init?.(config);
};

host.onEvent = () => {
  edits = [];
  edited = new Map();
  const returned = handlers.event(event, config);
  return returned instanceof Promise ? returned.then(verdictOf) : verdictOf(returned);
};

host.health = () => handlers.health?.();

host.snapshot = async () => {
  const state = await handlers.snapshot?.();
  return state === undefined ? undefined : JSON.stringify(state);
};

host.restore = (state) => (state === "" ? undefined : handlers.restore?.(JSON.parse(state)));
