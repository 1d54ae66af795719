import "fake-indexeddb/auto";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { keepKey } from "../src/link/keys";
import { RETRY_MAX_MS } from "../src/link/link";
import { allowOnce, digestOf } from "../src/permission/request";
import type { TaskView } from "../src/protocol";
import { App } from "../src/store/app";
import { matching, merged, PAGE } from "../src/store/timeline";
import { toasts } from "../src/store/toasts";
import { FakeHub, item, peer, request, settle } from "./fake_hub";

let hub: FakeHub;
let app: App;
let arrived: [string, string][];

const task = (status: TaskView["status"], more: Partial<TaskView> = {}): TaskView => ({
  status,
  owner: "api",
  claimant: null,
  claimant_id: null,
  claims: 0,
  filter: null,
  flagged_at: null,
  claimed_at: null,
  finished_at: null,
  result: null,
  error: null,
  ...more,
});
const shown = (): number[] => app.channel.items.value.map((one) => one.seq);

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval"] });
  localStorage.clear();
  toasts.value = [];
  hub = new FakeHub();
  arrived = [];
  app = new App(hub, "1.0", (kind, who) => arrived.push([kind, who]));
});
afterEach(() => {
  app.link.stop();
  vi.useRealTimers();
});

async function connect(): Promise<void> {
  app.link.start();
  await settle();
}

describe("the chat", () => {
  it("has the newest page, and then what comes in", async () => {
    hub.commit(...Array.from({ length: PAGE + 5 }, (_, index) => item(index + 1)));
    await connect();
    expect(shown()).toHaveLength(PAGE);
    hub.commit(item(PAGE + 6));
    expect(shown().at(-1)).toBe(PAGE + 6);
    expect(shown()).toEqual([...shown()].sort((one, other) => one - other));
  });

  it("neither misses nor doubles what comes in while its first page is read", async () => {
    let answer: (() => void) | null = null;
    hub.answers.set("read", (frame) => {
      if (frame.type !== "read" || frame.badge) return { type: "page" };
      const { id } = frame;
      answer = () => hub.current.tell({ type: "page", id, items: [item(1), item(2)] });
      return null;
    });
    hub.commit(item(1));
    await connect();
    hub.commit(item(2), item(3));
    expect(answer).not.toBeNull();
    (answer as unknown as () => void)();
    await settle();
    expect(shown()).toEqual([1, 2, 3]);
  });

  it("goes on after a reconnect without reading anything again", async () => {
    hub.commit(item(1));
    await connect();
    const reads = hub.asked("read").length;
    hub.current.cut();
    hub.commit(item(2));
    await vi.advanceTimersByTimeAsync(RETRY_MAX_MS);
    await settle();
    expect(shown()).toEqual([1, 2]);
    expect(hub.asked("read")).toHaveLength(reads);
  });

  it("reads earlier pages before the first message that it has", async () => {
    hub.commit(...Array.from({ length: PAGE * 2 }, (_, index) => item(index + 1)));
    await connect();
    app.channel.earlier.value = true;
    await app.channel.loadEarlier();
    expect(shown()).toHaveLength(PAGE * 2);
    expect(hub.asked("read").at(-1)).toMatchObject({ before: `m${PAGE + 1}` });
  });

  it("jumps to a message with what is around it, and counts what comes in beyond", async () => {
    hub.commit(...Array.from({ length: PAGE * 4 }, (_, index) => item(index + 1)));
    await connect();
    hub.answers.set("read", (frame) => {
      if (frame.type !== "read") return null;
      if (frame.before) return { type: "page", items: [item(9)], earlier: true };
      if (frame.after) return { type: "page", items: [item(11)], later: true };
      return { type: "page", items: [item(10)] };
    });
    await app.channel.loadAround("m10");
    expect(shown()).toEqual([9, 10, 11]);
    hub.commit(item(PAGE * 4 + 1));
    expect(shown()).toEqual([9, 10, 11]);
    expect(app.channel.unseen.value).toBe(1);
  });

  it("loses what was cleared, but not what was said to one agent", async () => {
    hub.commit(item(1), item(2, { to: ["a2"] }), item(3, { to: ["a2"], here: true }));
    await connect();
    hub.current.tell({ type: "cleared", upto: 3 });
    expect(shown()).toEqual([2]);
  });

  it("shows badges and tasks of a message as they change", async () => {
    hub.commit(item(1));
    await connect();
    hub.commit(
      item(2, {
        kind: "flag",
        message: "m1",
        task: task("open"),
        badges: [{ type: "task", value: "open", label: null }],
      }),
    );
    expect(app.channel.items.value[0]).toMatchObject({ task: { status: "open" }, badges: [{ type: "task" }] });
    expect(shown()).toEqual([1]);
  });

  it("counts replies, and takes the hub's count for the right one", async () => {
    hub.commit(item(1, { replies: 4 }));
    await connect();
    hub.commit(item(2, { kind: "reply", thread: "m1" }));
    expect(app.channel.items.value[0]?.replies).toBe(5);
    await vi.advanceTimersByTimeAsync(1000);
    await settle();
    expect(app.channel.items.value[0]?.replies).toBe(4); // the page had counted that reply already
  });

  it("takes a question for answered once the person replied in its thread", async () => {
    const badges = [{ type: "question", value: "true", label: null }];
    hub.commit(item(1, { badges }));
    await connect();
    hub.commit(item(2, { kind: "reply", thread: "m1" }));
    expect(app.channel.items.value[0]?.badges[0]?.value).toBe("true");
    hub.commit(item(3, { kind: "reply", thread: "m1", source: "user", from_id: "user" }));
    expect(app.channel.items.value[0]?.badges[0]?.value).toBe("answered");
  });

  it("begins as read for a browser that was never here, and remembers how far it was read", async () => {
    hub.commit(item(1), item(2));
    await connect();
    expect(app.readUpto.value).toBe(2);
    app.markRead(9);
    app.markRead(4);
    expect(app.readUpto.value).toBe(9);
    expect(localStorage.getItem("crosschat.read")).toBe("9");
  });
});

describe("a run of messages", () => {
  it("rises and has each message once, whatever is put together", () => {
    expect(
      merged([item(1), item(3)], [item(2), item(3, { content: "newer" })]).map((one) => [one.seq, one.content]),
    ).toEqual([
      [1, "message 1"],
      [2, "message 2"],
      [3, "newer"],
    ]);
  });

  it("of a search says what it has not seen yet, and goes on before the oldest result", async () => {
    await connect();
    hub.answers.set("search", (frame) => {
      if (frame.type !== "search") return null;
      const items = frame.before ? [item(4), item(2)] : [item(9), item(5)]; // newest first, as the hub finds them
      return { type: "page", items, earlier: !frame.before, behind: frame.before ? 0 : 12 };
    });
    const found = app.follow(matching({ query: "x" }));
    await found.load();
    expect(found.items.value.map((one) => one.seq)).toEqual([5, 9]);
    expect(found.behind.value).toBe(12);
    await found.loadEarlier();
    expect(hub.asked("search").at(-1)).toMatchObject({ query: "x", before: "m5" });
    expect([found.items.value.map((one) => one.seq), found.behind.value]).toEqual([[2, 4, 5, 9], 0]);
  });

  it("of a search without words follows what fits, and one with words does not guess", () => {
    expect(matching({ sender: "api" }).includes(item(1))).toBe(true);
    expect(matching({ sender: "web" }).includes(item(1))).toBe(false);
    expect(
      matching({ badge: "task:open" }).includes(item(1, { badges: [{ type: "task", value: "open", label: null }] })),
    ).toBe(true);
    expect(
      matching({ badge: "task:open" }).includes(item(1, { badges: [{ type: "task", value: "failed", label: null }] })),
    ).toBe(false);
    expect(matching({ query: "x" }).includes(item(1))).toBe(false);
    const api = matching({ party: "a1" });
    expect(
      [{}, { from_id: "a2", to: ["a1", "a3"] }, { from_id: "a2", to: ["a3"] }, { from_id: "a2" }].map((one) =>
        api.includes(item(1, one)),
      ),
    ).toEqual([true, true, false, false]);
  });
});

describe("tasks", () => {
  it("stand in the column of their state, and move as it changes", async () => {
    hub.commit(item(1));
    await connect();
    hub.answers.set("read", () => ({ type: "page", items: [item(1, { task: task("open") })] }));
    hub.commit(item(2, { kind: "flag", message: "m1", task: task("open") }));
    await settle();
    expect(app.tasks.columns.value.get("open")).toHaveLength(1);
    hub.commit(item(3, { kind: "claim", message: "m1", task: task("claimed", { claimant: "web" }) }));
    expect(app.tasks.columns.value.get("open")).toHaveLength(0);
    expect(app.tasks.columns.value.get("claimed")?.[0]?.task.claimant).toBe("web");
    hub.commit(item(4, { kind: "release", message: "m1", content: "lease_expired", task: task("open") }));
    expect(app.tasks.byId.value.get("m1")?.released?.reason).toBe("lease_expired");
  });
});

describe("what needs the person", () => {
  it("announces only what is new, and a question as one", async () => {
    await connect();
    const need = { kind: "question", message: "m1", seq: 1, agent: "a1", name: "api", since: "2026-01-01T00:00:00Z" };
    hub.current.tell({ type: "needs", needs: [need] });
    expect(arrived).toEqual([]);
    hub.current.tell({ type: "needs", needs: [need, { ...need, message: "m2" }] });
    expect(arrived).toEqual([["question", "api"]]);
    expect(app.needs.count.value).toBe(2);
    hub.current.cut(); // what came while nobody was connected is new as well
    await vi.advanceTimersByTimeAsync(RETRY_MAX_MS);
    await settle();
    hub.current.tell({
      type: "needs",
      needs: [need, { ...need, message: "m2" }, { ...need, message: "m3", name: "web" }],
    });
    expect(arrived).toEqual([
      ["question", "api"],
      ["question", "web"],
    ]);
  });
});

describe("a permission request", () => {
  const genuine = async (id: string): Promise<ReturnType<typeof request>> => {
    const view = request(id, { command: "ls" });
    return { ...view, digest: await digestOf(view) };
  };
  // WebCrypto answers from another thread.
  const checked = async (): Promise<void> =>
    vi.waitFor(() => expect(app.desk.pending.value.every((one) => one.genuine !== null)).toBe(true));

  it("is announced, checked, signed over the exact payload, and gone once it is decided", async () => {
    const key = await keepKey();
    await connect();
    const view = await genuine("p1");
    hub.current.tell({ type: "permission", request: view });
    expect(arrived).toEqual([["permission", "api"]]);
    await checked();
    expect(app.desk.pending.value[0]?.genuine).toBe(true);
    await app.desk.decide("p1", allowOnce());
    const [sent] = hub.asked("decide");
    expect(JSON.parse(sent?.payload ?? "")).toEqual({
      id: "p1",
      digest: view.digest,
      hub_nonce: view.hub_nonce,
      output: allowOnce(),
    });
    const signature = Uint8Array.from(atob((sent?.signature ?? "").replaceAll("-", "+").replaceAll("_", "/")), (one) =>
      one.charCodeAt(0),
    );
    const bytes = new TextEncoder().encode(sent?.payload);
    expect(signature).toHaveLength(64);
    await expect(
      crypto.subtle.verify({ name: "ECDSA", hash: "SHA-256" }, key.pair.publicKey, signature, bytes),
    ).resolves.toBe(true);
    expect(app.desk.pending.value).toEqual([]);
  });

  it("whose digest is another is never decided", async () => {
    await keepKey();
    await connect();
    hub.current.tell({
      type: "permission",
      request: { ...(await genuine("p1")), raw: '{"tool_name":"Bash","tool_input":{"command":"rm"}}' },
    });
    await checked();
    expect(app.desk.pending.value[0]?.genuine).toBe(false);
    await expect(app.desk.decide("p1", allowOnce())).rejects.toThrow("not what the session sent");
    expect(hub.asked("decide")).toEqual([]);
  });

  it("that was answered elsewhere disappears, is not ticked any more, and cannot be decided", async () => {
    await connect();
    hub.current.tell({ type: "permission", request: await genuine("p1") });
    await checked();
    app.desk.tick("p1", true);
    hub.current.tell({ type: "permission_over", request: "p1", how: "answered_elsewhere" });
    expect(app.desk.pending.value).toEqual([]);
    expect(app.desk.ticked.value.size).toBe(0);
    expect(toasts.value.at(-1)?.text).toContain("answered in the terminal");
    await expect(app.desk.decide("p1", allowOnce())).rejects.toThrow("does not wait any more");
  });

  it("that the hub does not tell again after a reconnect is over", async () => {
    await connect();
    hub.current.tell({ type: "permission", request: await genuine("p1") });
    hub.current.cut();
    await vi.advanceTimersByTimeAsync(RETRY_MAX_MS);
    await settle();
    expect(app.desk.pending.value).toEqual([]);
  });

  it("that is told again after a reconnect stays as it is, and is not announced again", async () => {
    await connect();
    const view = await genuine("p1");
    hub.requests.push(view);
    hub.current.tell({ type: "permission", request: view });
    await checked();
    app.desk.tick("p1", true);
    const [before] = app.desk.pending.value;
    const was: unknown[] = [];
    const stop = app.desk.pending.subscribe((pending) => was.push(pending[0]));
    hub.current.cut();
    await vi.advanceTimersByTimeAsync(RETRY_MAX_MS);
    await settle();
    stop();
    expect(hub.sockets).toHaveLength(2);
    expect(new Set(was)).toEqual(new Set([before]));
    expect(app.desk.ticked.value.has("p1")).toBe(true);
    expect(arrived).toEqual([["permission", "api"]]);
  });

  it("is there once, however often it is told", async () => {
    await connect();
    const view = await genuine("p1");
    hub.current.tell({ type: "permission", request: view });
    hub.current.tell({ type: "permission", request: view });
    expect(app.desk.pending.value).toHaveLength(1);
  });

  it("stays if the hub refuses the decision", async () => {
    await keepKey();
    await connect();
    hub.current.tell({ type: "permission", request: await genuine("p1") });
    await checked();
    hub.answers.set("decide", () => ({ type: "error", code: "storage_full", message: "The disk is full." }));
    await expect(app.desk.decide("p1", allowOnce())).rejects.toThrow("The disk is full.");
    expect(app.desk.pending.value[0]?.deciding).toBe(false);
  });
});

describe("the hub", () => {
  it("of another version asks for a reload", async () => {
    hub.version = "2.0";
    app = new App(hub, "1.0");
    await connect();
    expect(app.outdated.value).toBe("2.0");
  });

  it("tells who is there", async () => {
    await connect();
    hub.current.tell({ type: "people", agents: [peer("api")], unjoined: [] });
    expect(app.agentNames.value).toEqual(["api"]);
  });

  it("keeps events in order and once", async () => {
    await connect();
    const event = (seq: number): object => ({
      type: "event",
      event: { seq, ts: "2026-01-01T00:00:00Z", kind: "joined", text: "x" },
    });
    for (const seq of [2, 1, 2]) hub.current.tell(event(seq) as never);
    expect(app.events.value.map((one) => one.seq)).toEqual([1, 2]);
  });
});
