/** The module that plugins in JavaScript and TypeScript import: `import { plugin } from "djangobot-plugin"`. */
declare module "djangobot-plugin" {
  /** A value that JSON can express. Whole numbers beyond 2^53 are a bigint. */
  type Json = null | boolean | number | bigint | string | Json[] | { [key: string]: Json };

  /**
   * The event that the plugin is called for. A property that is not named here is a field of the event: `event.text` is
   * `event.get("/text")`, and `event.text = "x"` is `event.set("/text", "x")`. A field with the name of a method, such
   * as `/id`, is read by its pointer.
   */
  interface Event {
    /** The id, which stays the same if the event comes again. */
    readonly id: string;
    /** Inbound Slack's type, such as `message`; outbound the Web API method, such as `chat.postMessage`. */
    readonly kind: string;
    /** Whether it goes from Slack to the app. */
    readonly inbound: boolean;
    /** Whether the plugin may answer it: a slash command, a click, a shortcut or a dialog. */
    readonly answerable: boolean;
    /** The value at a JSON pointer, with the script's own edits; `undefined` if there is none. */
    get(pointer: string): any;
    /** Many values for the price of one call. */
    select(...pointers: string[]): any[];
    /** Sets a value, or adds it. The containers on the way must exist. `undefined` changes nothing. */
    set(pointer: string, value: Json | undefined): this;
    /** Removes a value. A value that does not exist is not an error. */
    remove(pointer: string): this;
    /** The whole event as JSON text. */
    json(): string;
    [field: string]: any;
  }

  /** What becomes of an event; `drop` and `replace` make one. */
  interface Verdict {
    readonly __verdict: never;
  }
  type Answer = Verdict | Event | void;
  type Handler<Config> = (event: Event, config: Config) => Answer | Promise<Answer>;
  interface Plugin<Config> {
    /** It is called once, before any event. An error refuses the plugin. */
    init?(config: Config): void | Promise<void>;
    /** It is called for each event that the manifest subscribes to. */
    event: Handler<Config>;
    /** An error refuses the version, and the one before serves on. */
    health?(): void | Promise<void>;
    /** The state for the next version. */
    snapshot?(): Json | Promise<Json>;
    /** Takes the state of the version before. */
    restore?(state: any): void | Promise<void>;
  }

  /**
   * Makes the plugin: `export default plugin((event, config) => { ... })`. A handler that returns nothing lets the event
   * go on, with its edits. An error leaves the event as it was.
   */
  export function plugin<Config = any>(handler: Handler<Config> | Plugin<Config>): Plugin<Config>;
  /** The event ends here: `return drop("spam")`. The reason is logged and counted. */
  export function drop(reason?: string): Verdict;
  /** These events go on in its place. The manifest must list their kinds under `emits`. */
  export function replace(...events: { kind: string; body?: object }[]): Verdict;
  /** Answers the event in the app's place, as an app would on the reply channel. */
  export function answer(message: string | object): Verdict;
  /** The event comes again after so many milliseconds. The manifest must say `defers = true`. */
  export function defer(ms: number): Verdict;
  /** Lets another event go on after this one. The manifest must list its kind under `emits`. */
  export function emit(kind: string, body?: object): void;

  interface User {
    id: string;
    /** The handle, without `@`. */
    name: string;
    displayName: string;
    realName: string;
    /** The name that Slack shows: the display name, or else the full name, or else the handle. */
    shownName: string;
    isBot: boolean;
    deleted: boolean;
  }
  interface Conversation {
    id: string;
    /** The name, without `#`. */
    name: string;
    isPrivate: boolean;
  }
  /** The team, from the host's memory. What is not known is `undefined`, and a later call may find it. */
  export const roster: {
    readonly me: { teamId: string; userId: string; botId?: string; name: string } | undefined;
    user(id: string | undefined): User | undefined;
    users(ids: string[]): (User | undefined)[];
    conversation(id: string | undefined): Conversation | undefined;
    usergroup(id: string | undefined): { id: string; handle: string; name: string } | undefined;
    bot(id: string | undefined): { id: string; name: string } | undefined;
    /** All that fit. */
    findUsers(name: string): User[];
    findConversations(name: string): Conversation[];
    findUsergroups(handle: string): { id: string; handle: string; name: string }[];
    /** Fields of Slack's own object: `roster.select("users", id, "/profile/email", "/tz")`. */
    select(table: "users" | "conversations" | "usergroups" | "bots", id: string, ...pointers: string[]): any[] | undefined;
  };

  /** Values that outlive restarts and updates. It needs the capability `store`. */
  export const store: {
    get(key: string): any;
    set(key: string, value: Json, options?: { ttlMs?: number }): void;
    delete(key: string): void;
    /** Adds to the number at a key, which begins at 0, and returns the sum. */
    increment(key: string, by?: number): number;
  };

  export const slack: {
    /** Sends a message, as an app would through `slack.send`, and returns its id. It needs the capability `slack`. */
    send(message: object): string;
    /** Calls a method of the Web API, and returns Slack's answer. It needs the capability `slack:METHOD`. */
    call(method: string, args?: object): any;
  };

  /** A secret of the operator. It needs the capability `secrets:NAME`. */
  export function secret(name: string): string | undefined;

  interface Response {
    status: number;
    ok: boolean;
    headers: Record<string, string>;
    text(): Promise<string>;
    json(): Promise<any>;
  }
  /** An HTTP request. It needs the capability `http:HOST`. */
  export function fetch(
    url: string,
    options?: { method?: string; headers?: Record<string, string>; body?: string; timeoutMs?: number },
  ): Promise<Response>;

  type Line = (...values: unknown[]) => void;
  /** Lines in the host's log. */
  export const log: { trace: Line; debug: Line; info: Line; warn: Line; error: Line };
}

declare const console: Record<"log" | "trace" | "debug" | "info" | "warn" | "error", (...values: unknown[]) => void>;
