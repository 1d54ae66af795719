import { describe, expect, it } from "vitest";
import { BadFrame, decodeFrame } from "../src/decode";
import { FRAMES } from "../src/protocol";

const item = {
  seq: 7,
  kind: "message",
  message: "m7",
  from_id: "a1",
  from_name: "a",
  source: "agent",
  ts: "2026-01-01T00:00:00.000Z",
};
const batch = (items: unknown[]): string => JSON.stringify({ type: "batch", from_seq: 7, to_seq: 7, items });

describe("a frame from the hub", () => {
  it("gets the defaults that the hub left out", () => {
    const frame = decodeFrame(batch([item]));
    if (frame.type !== "batch") throw new Error(frame.type);
    expect(frame.items[0]).toMatchObject({
      ...item,
      content: "",
      badges: [],
      task: null,
      replies: 0,
      to: null,
      here: false,
    });
  });

  it("gets lists of its own for defaults, so that two frames share none", () => {
    const [one, other] = [decodeFrame(batch([item])), decodeFrame(batch([item]))];
    if (one.type !== "batch" || other.type !== "batch") throw new Error("not batches");
    expect(one.items[0]?.badges).not.toBe(other.items[0]?.badges);
  });

  it.each([
    ["not JSON", "{", "frame: not JSON"],
    ["a list", "[]", "frame: not an object"],
    ["null", "null", "frame: not an object"],
    ["an unknown type", '{"type":"toString"}', "frame: unknown type toString"],
    ["no type", "{}", "frame: unknown type undefined"],
    ["a missing field", '{"type":"batch","from_seq":1}', "batch.to_seq: missing"],
    ["a string for a number", '{"type":"cleared","upto":"1"}', "cleared.upto: expected integer"],
    ["a fraction for a whole number", '{"type":"cleared","upto":1.5}', "cleared.upto: expected integer"],
    ["null where nothing may be null", '{"type":"cleared","upto":null}', "cleared.upto: expected integer"],
    ["an object for a list", '{"type":"people","agents":{}}', "people.agents: expected a list"],
    [
      "a value that is not one of the list",
      batch([{ ...item, kind: "<img>" }]),
      "batch.items[0].kind: unexpected value <img>",
    ],
    ["a list for an object", batch([{ ...item, metadata: [] }]), "batch.items[0].metadata: expected object"],
  ])("is refused: %s", (_, text, message) => {
    expect(() => decodeFrame(text)).toThrow(BadFrame);
    expect(() => decodeFrame(text)).toThrow(message);
  });

  it("may have fields that this page does not know yet", () => {
    expect(decodeFrame('{"type":"cleared","upto":3,"more":1}')).toEqual({ type: "cleared", upto: 3 });
  });

  it("keeps the names of counters, whatever they are", () => {
    const frame = decodeFrame('{"type":"sent","id":"1","message":"m","seq":1,"states":{"__proto__":2,"shown":1}}');
    if (frame.type !== "sent") throw new Error(frame.type);
    expect(Object.entries(frame.states)).toEqual([
      ["__proto__", 2],
      ["shown", 1],
    ]);
  });

  it("exists for every type", () => {
    expect(Object.keys(FRAMES).length).toBeGreaterThan(15);
  });
});
