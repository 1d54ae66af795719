import "fake-indexeddb/auto";
import { render } from "preact";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Need } from "../src/protocol";
import { App } from "../src/store/app";
import { AppContext } from "../src/ui/context";
import { NeedsView } from "../src/views/needs";
import { FakeHub, item, peer, settle } from "./fake_hub";

let hub: FakeHub;
let app: App;
let place: HTMLElement;

const need = (kind: Need["kind"], seq: number): Need => ({
  kind,
  message: `m${seq}`,
  seq,
  agent: "a1",
  name: "api",
  since: "2026-01-01T00:00:00.000Z",
});

// Preact draws after a turn of the event loop.
const drawn = (): Promise<void> => new Promise((done) => setTimeout(done, 20));

async function show(...needs: Need[]): Promise<void> {
  hub.commit(...[1, 2, 3, 4].map((seq) => item(seq)));
  app.link.start();
  await settle();
  hub.current.tell({ type: "people", agents: [peer("api")] });
  hub.current.tell({ type: "needs", needs });
  await settle();
  await drawn();
}

const group = (title: string): Element | null => place.querySelector(`section[aria-label="${title}"]`);

beforeEach(() => {
  vi.stubGlobal(
    "IntersectionObserver",
    class {
      observe(): void {}
      disconnect(): void {}
    },
  );
  hub = new FakeHub();
  app = new App(hub, "1.0");
  place = document.createElement("div");
  document.body.append(place);
  render(
    <AppContext.Provider value={app}>
      <NeedsView />
    </AppContext.Provider>,
    place,
  );
});
afterEach(() => {
  render(null, place);
  place.remove();
  app.link.stop();
  vi.unstubAllGlobals();
});

describe("what needs the person", () => {
  it("is nothing, and then the view says what comes here", async () => {
    await show();
    expect(place.textContent).toContain("Nothing needs you");
    expect(place.textContent).toContain("1 agent is connected");
  });

  it("says which sessions hardly ask, and offers what they may be made to ask for", async () => {
    await show();
    hub.current.tell({
      type: "people",
      agents: [peer("api", { mode: "auto" }), peer("web", { mode: "bypassPermissions" }), peer("docs")],
    });
    const presets = [
      { name: "push", rules: ["Bash(git push:*)"] },
      { name: "delete", rules: ["Bash(rm:*)", "Bash(git clean:*)"] },
    ];
    hub.current.tell({ type: "desk", rules: ["Bash(git push:*)"], presets });
    await drawn();
    expect(place.textContent).toContain("api is in auto mode, web is in bypass mode");
    expect(place.textContent).not.toContain("docs is in");
    const names = [...place.querySelectorAll(".presets button")].map((button) => button.textContent);
    expect(names).toEqual(["delete"]);
    place.querySelector<HTMLButtonElement>(".presets button")?.click();
    await settle();
    await drawn();
    expect(hub.asked("ask")[0]).toMatchObject({ rule: "Bash(rm:*)", change: "add" });
  });

  it("stands in its group with the message it is about", async () => {
    await show(need("question", 1), need("stuck", 2), need("reopened", 3), need("unread", 4));
    expect(group("Questions to you")?.textContent).toContain("message 1");
    expect(group("Tasks that need a push")?.textContent).toContain("message 2");
    expect(group("Tasks that need a push")?.textContent).toContain("message 3");
    expect(group("Nobody has read these")?.textContent).toContain("message 4");
  });

  it("is a stuck task that is released there", async () => {
    await show(need("stuck", 2));
    const release = [...place.querySelectorAll("button")].find((button) => button.textContent === "Release it");
    release?.click();
    await settle();
    expect(hub.asked("release")).toMatchObject([{ message: "m2" }]);
  });

  it("goes away when the hub says so", async () => {
    await show(need("unread", 4));
    hub.current.tell({ type: "needs" });
    await drawn();
    expect(group("Nobody has read these")).toBeNull();
  });

  it("is also a thread in which only agents answer each other", async () => {
    await show();
    const guarded = [{ message: "m1", author: "api", replies: 41 }];
    hub.current.tell({ type: "hub", version: "1.0", home: "/h", started_at: "2026-01-01T00:00:00Z", head: 4, guarded });
    await drawn();
    expect(group("Only agents answer each other here")?.textContent).toContain("41 replies");
  });
});
