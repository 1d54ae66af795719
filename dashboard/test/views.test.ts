import { describe, expect, it } from "vitest";
import { age, dayName } from "../src/store/clock";
import { hrefOf, parseRoute } from "../src/store/route";
import { hueOf, initialsOf, presenceOf } from "../src/ui/parts";
import { drawnRows, ELEMENTS, offsetsOf, rowAt } from "../src/ui/windowed";
import { completions, mentionAt } from "../src/views/composer";
import { beginning, isLong } from "../src/views/message";
import { browserName } from "../src/views/pairing";
import { dayEnd, dayStart } from "../src/views/search";
import { peer } from "./fake_hub";

describe("an address in the page", () => {
  it.each([
    ["", "needs", null],
    ["#/chat", "chat", null],
    ["#/chat/m12-ab", "chat", "m12-ab"],
    ["#/nowhere", "needs", null],
    ["#/agents/a%2Fb", "agents", "a/b"],
    ["#/agents/%", "agents", "%"],
  ])("leads somewhere: %s", (hash, view, what) => expect(parseRoute(hash)).toMatchObject({ view, what }));

  it("is written as it is read", () => {
    const route = parseRoute(hrefOf("chat", "m 1/2", { from: "a&b=c", badge: "", thread: undefined }));
    expect(route).toMatchObject({ view: "chat", what: "m 1/2" });
    expect([...route.query]).toEqual([["from", "a&b=c"]]);
  });
});

describe("a mention that is being written", () => {
  it.each([
    ["@", 1, ""],
    ["hello @ap", 9, "ap"],
    ["(@api.v2", 8, "api.v2"],
    ["@api and", 4, "api"],
  ])("is found at the caret: %s", (text, caret, written) => expect(mentionAt(text, caret)?.written).toBe(written));

  it.each([
    ["me@example", 10],
    ["hello", 5],
    ["@api ", 5],
    ["@types/node", 11],
  ])("is not seen in: %s", (text, caret) => expect(mentionAt(text, caret)).toBeNull());

  it("is completed by names that begin so before those that have it inside", () => {
    expect(completions("web", ["api-worker", "web"])).toEqual([]); // written out: nothing to choose
    expect(completions("WO", ["api-worker", "worker", "web"])).toEqual(["worker", "api-worker"]);
  });
});

describe("a long list", () => {
  it("knows at which height each row begins, measured or not", () => {
    expect([
      ...offsetsOf(
        ["a", "b", "c"],
        new Map([
          ["a", 10],
          ["b", 30],
        ]),
      ),
    ]).toEqual([0, 10, 40, 104]);
  });

  it.each([
    [-5, 0],
    [0, 0],
    [9, 0],
    [10, 1],
    [39, 1],
    [40, 2],
    [9999, 2],
  ])("finds the row at %d", (y, row) => {
    expect(
      rowAt(
        offsetsOf(
          ["a", "b", "c"],
          new Map([
            ["a", 10],
            ["b", 30],
          ]),
        ),
        y,
      ),
    ).toBe(row);
  });

  it("draws beyond the screen only what there is room for, and tightly what is too much on it", () => {
    const of = (elements: number) => (_: number, tight: boolean) => (tight ? 5 : elements);
    expect(drawnRows([10, 19], [0, 29], of(6))).toEqual({ first: 0, last: 29, tightFrom: 30 });
    const some = drawnRows([10, 19], [0, 29], of(20));
    expect([some.first, some.last, some.tightFrom]).toEqual([10, 10 + Math.floor(ELEMENTS / 20) - 1, 23]);
    const dense = drawnRows([10, 19], [0, 29], of(60));
    expect(dense).toEqual({ first: 10, last: 19, tightFrom: 10 + Math.floor((ELEMENTS - 50) / 55) });
  });
  it("without rows begins and ends at 0", () => expect(rowAt(offsetsOf([], new Map()), 100)).toBe(0));
});

describe("words for people", () => {
  it.each([
    [0, "a moment"],
    [25_000, "20 s"],
    [60_000, "1 min"],
    [3_600_000, "1 h"],
    [90_000_000, "1 d"],
    [-5, "a moment"],
  ])("say an age of %d ms", (ms, text) => expect(age(ms)).toBe(text));

  it("name the day", () => {
    const today = new Date(2026, 4, 4, 12).getTime();
    expect(dayName(new Date(2026, 4, 4, 1).toISOString(), today)).toBe("Today");
    expect(dayName(new Date(2026, 4, 3, 23).toISOString(), today)).toBe("Yesterday");
    expect(dayName(new Date(2025, 4, 3).toISOString(), today)).toContain("2025");
  });

  it("take the days of a search for those of whoever looks", () => {
    expect(new Date(dayStart("2026-05-04")).getHours()).toBe(0);
    expect(Date.parse(dayEnd("2026-05-04")) - Date.parse(dayStart("2026-05-04"))).toBe(86_399_999);
  });

  it("shorten names", () => {
    expect([initialsOf("api-worker"), initialsOf("web"), initialsOf("…"), initialsOf("日本語")]).toEqual([
      "AW",
      "WE",
      "?",
      "日本",
    ]);
    expect(hueOf("api")).toBe(hueOf("api"));
  });

  it("name the browser", () => {
    expect(browserName("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/150.0 Safari/537.36")).toBe(
      "Chrome on Linux",
    );
    expect(browserName("Mozilla/5.0 (Macintosh; Intel Mac OS X 14) Version/18 Safari/605")).toBe("Safari on macOS");
    expect(browserName("x")).toBe("Browser");
  });
});

describe("an agent", () => {
  it.each([
    [peer("a", { connected: false, activity: "working" }), false, "away"],
    [peer("a"), true, "waiting"],
    [peer("a", { activity: "waiting" }), false, "waiting"],
    [peer("a", { activity: "working" }), false, "working"],
    [peer("a", { status: "busy" }), false, "working"],
    [peer("a", { status: "busy", activity: "idle" }), false, "idle"],
    [peer("a"), false, "idle"],
  ])("is as its hooks and it say", (agent, waits, presence) => expect(presenceOf(agent, waits)).toBe(presence));
});

describe("a long message", () => {
  it("is folded, and what is shown of it is its beginning", () => {
    const text = Array.from({ length: 200 }, (_, index) => `line ${index}`).join("\n");
    expect(isLong(text)).toBe(true);
    expect(text.startsWith(beginning(text))).toBe(true);
    expect(beginning(text).split("\n").length).toBeLessThan(60);
    expect(isLong("x".repeat(9000))).toBe(true);
    expect(isLong("short")).toBe(false);
    expect(beginning("x".repeat(9000)).length).toBeLessThan(3000);
  });
});
