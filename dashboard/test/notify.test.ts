import "fake-indexeddb/auto";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { App } from "../src/store/app";
import { notifies, sounds } from "../src/store/memory";
import { tell } from "../src/ui/notify";
import { FakeHub, item, settle } from "./fake_hub";

let hub: FakeHub;
let app: App;
let tones: number;

beforeEach(async () => {
  localStorage.clear();
  tones = 0;
  const param = { setValueAtTime: () => {}, exponentialRampToValueAtTime: () => {} };
  const node = { connect: (next: unknown) => next, gain: param, frequency: { value: 0 }, stop: () => {} };
  vi.stubGlobal(
    "AudioContext",
    class {
      currentTime = 0;
      createOscillator = () => ({ ...node, start: () => (tones += 1) });
      createGain = () => node;
      close = () => Promise.resolve();
    },
  );
  hub = new FakeHub();
  hub.commit(item(1));
  app = new App(hub, "1.0", tell);
  app.link.start();
  await settle();
  hub.current.tell({ type: "needs", needs: [] }); // what waits when the page opens is seen, and not told
});
afterEach(() => {
  app.link.stop();
  sounds.value = false;
  vi.unstubAllGlobals();
});

const question = {
  kind: "question",
  message: "m1",
  seq: 1,
  agent: "a1",
  name: "api",
  since: "2026-01-01T00:00:00.000Z",
};

async function ask(): Promise<void> {
  hub.current.tell({ type: "needs", needs: [question] });
  await settle();
}

describe("the sound", () => {
  it("is off unless it was chosen, and so are notifications", async () => {
    expect([sounds.value, notifies.value]).toEqual([false, false]);
    await ask();
    expect(app.needs.list.value).toHaveLength(1);
    expect(tones).toBe(0);
  });

  it("is made once for each thing, however often the hub tells of it", async () => {
    sounds.value = true;
    await ask();
    expect(tones).toBe(1);
    await ask();
    hub.current.tell({ type: "needs", needs: [question, { ...question, kind: "unread", message: "m9", seq: 9 }] });
    await settle();
    expect(tones).toBe(1);
  });
});
