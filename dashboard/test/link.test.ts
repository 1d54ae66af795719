import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ANSWER_MS, DEAD_MS, Link, QUIET_MS, RETRY_MAX_MS, Refusal, Unpaired } from "../src/link/link";
import type { DoneFrame, FromHub, OpenedFrame, PageFrame, SentFrame } from "../src/protocol";
import { FakeHub, item, settle } from "./fake_hub";

let hub: FakeHub;
let link: Link;
let opened: [OpenedFrame, boolean][];
let frames: FromHub[];

const seqs = (): number[] =>
  frames.flatMap((frame) => (frame.type === "batch" ? frame.items.map((one) => one.seq) : []));

beforeEach(() => {
  vi.useFakeTimers();
  hub = new FakeHub();
  opened = [];
  frames = [];
  link = new Link(hub, {
    opened: (frame, resumed) => opened.push([frame, resumed]),
    frame: (frame) => frames.push(frame),
  });
});
afterEach(() => vi.useRealTimers());

async function connect(): Promise<void> {
  link.start();
  await settle();
}

describe("the link", () => {
  it("opens with what it is, and begins anew the first time", async () => {
    await connect();
    expect(link.state.value).toBe("open");
    expect(hub.asked("open")[0]).toMatchObject({ protocol: 1, version: "1.0" });
    expect(hub.asked("open")[0]).not.toHaveProperty("epoch");
    expect(opened.map(([, resumed]) => resumed)).toEqual([false]);
  });

  it("goes on by its cursor after a cut, and neither misses nor repeats a delivery", async () => {
    await connect();
    hub.commit(item(1), item(2));
    hub.current.cut();
    hub.commit(item(3));
    await vi.advanceTimersByTimeAsync(RETRY_MAX_MS);
    expect(hub.asked("open")[1]).toMatchObject({ epoch: "e1", after_seq: 2 });
    hub.commit(item(4));
    expect(seqs()).toEqual([1, 2, 3, 4]);
    expect(opened.map(([, resumed]) => resumed)).toEqual([false, true]);
  });

  it("leaves out what a batch repeats", async () => {
    await connect();
    hub.commit(item(1), item(2));
    hub.current.tell({ type: "batch", from_seq: 1, to_seq: 3, items: [item(1), item(2), item(3)] });
    expect(seqs()).toEqual([1, 2, 3]);
  });

  it("starts anew at a hole in the deliveries instead of showing them with a gap", async () => {
    await connect();
    hub.commit(item(1));
    hub.current.tell({ type: "batch", from_seq: 5, to_seq: 5, items: [item(5)] });
    await vi.advanceTimersByTimeAsync(RETRY_MAX_MS);
    expect(seqs()).toEqual([1]);
    expect(hub.asked("open")[1]).not.toHaveProperty("after_seq");
    expect(opened.map(([, resumed]) => resumed)).toEqual([false, false]);
  });

  it("starts anew when the log is another one", async () => {
    await connect();
    hub.commit(item(1));
    hub.current.cut();
    hub.epoch = "e2";
    await vi.advanceTimersByTimeAsync(RETRY_MAX_MS);
    expect(opened.map(([, resumed]) => resumed)).toEqual([false, false]);
  });

  it("sends a change again after a reconnect with the same ids, and is answered once", async () => {
    await connect();
    hub.silent.add("send");
    const sent = link.ask<SentFrame>({ type: "send", cid: link.cid(), content: "hello" });
    hub.current.cut();
    hub.silent.clear();
    await vi.advanceTimersByTimeAsync(RETRY_MAX_MS);
    await expect(sent).resolves.toMatchObject({ type: "sent" });
    const [first, second, ...more] = hub.asked("send");
    expect(second).toEqual(first);
    expect(more).toEqual([]);
  });

  it("asks what was asked while there was no connection once there is one", async () => {
    const page = link.ask<PageFrame>({ type: "read" });
    await connect();
    await expect(page).resolves.toMatchObject({ type: "page" });
  });

  it.each(["decide", "launch"] as const)("never repeats a %s: it fails with the connection", async (type) => {
    await connect();
    hub.silent.add(type);
    const asked = link.ask<DoneFrame>(
      type === "decide" ? { type, request: "p", payload: "", signature: "" } : { type, project: "p" },
    );
    const refused = expect(asked).rejects.toThrow(Refusal);
    hub.current.cut();
    await refused;
    await vi.advanceTimersByTimeAsync(RETRY_MAX_MS);
    expect(hub.asked(type)).toHaveLength(1);
  });

  it("refuses a decision at once while there is no connection", async () => {
    await expect(link.ask({ type: "decide", request: "p", payload: "", signature: "" })).rejects.toThrow(
      "not connected",
    );
  });

  it("turns a refusal of the hub into an error with its words", async () => {
    await connect();
    hub.answers.set("flag", () => ({ type: "error", code: "conflict", message: "It is a task already." }));
    await expect(link.ask({ type: "flag", cid: "c", message: "m1" })).rejects.toMatchObject({
      code: "conflict",
      message: "It is a task already.",
    });
  });

  it("gives up a request that is never answered, and says that it may have happened", async () => {
    await connect();
    hub.silent.add("send");
    const refused = expect(link.ask({ type: "send", cid: "c", content: "x" })).rejects.toThrow("may or may not");
    await vi.advanceTimersByTimeAsync(ANSWER_MS);
    await refused;
  });

  it("shows that it is not paired, and goes on when it is asked to after that", async () => {
    hub.trouble = new Unpaired("no key");
    await connect();
    expect(link.state.value).toBe("unpaired");
    hub.trouble = null;
    await connect();
    expect(link.state.value).toBe("open");
  });

  it("tries again with growing pauses up to a bound while there is no hub", async () => {
    hub.trouble = new Error("no hub");
    await connect();
    await vi.advanceTimersByTimeAsync(60_000);
    const tries = hub.tickets;
    expect(tries).toBeGreaterThan(8);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(hub.tickets - tries).toBeLessThanOrEqual(60_000 / (RETRY_MAX_MS * 0.75));
    expect(hub.tickets - tries).toBeGreaterThanOrEqual(60_000 / (RETRY_MAX_MS * 1.25) - 1);
  });

  it("waits as long as a leaving hub asks for", async () => {
    await connect();
    hub.current.tell({ type: "bye", reason: "restart", retry_after_ms: 9_000 });
    await vi.advanceTimersByTimeAsync(8_900);
    expect(hub.sockets).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(200);
    expect(hub.sockets).toHaveLength(2);
  });

  it("cuts a connection that only looks alive, as after a sleep, and resumes on another", async () => {
    await connect();
    hub.commit(item(1));
    hub.silent.add("peers");
    await vi.advanceTimersByTimeAsync(QUIET_MS + DEAD_MS + RETRY_MAX_MS);
    expect(hub.sockets).toHaveLength(2);
    expect(opened.map(([, resumed]) => resumed)).toEqual([false, true]);
  });

  it("keeps a quiet connection whose hub answers", async () => {
    await connect();
    await vi.advanceTimersByTimeAsync(5 * QUIET_MS);
    expect(hub.sockets).toHaveLength(1);
    expect(hub.asked("peers").length).toBeGreaterThan(2);
  });

  it("leaves a frame out that cannot be read, and hears the next one", async () => {
    vi.spyOn(console, "error").mockImplementation(() => undefined);
    await connect();
    hub.current.onmessage?.({ data: "{" });
    hub.commit(item(1));
    expect(seqs()).toEqual([1]);
  });
});
