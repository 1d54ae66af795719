import "fake-indexeddb/auto";
import { render } from "preact";
import { afterEach, beforeEach, expect, it } from "vitest";
import { App } from "../src/store/app";
import { AppContext } from "../src/ui/context";
import { Composer } from "../src/views/composer";
import { FakeHub, peer, settle } from "./fake_hub";

const place = document.createElement("div");
let app: App;

// Preact draws after a turn of the event loop.
const drawn = (): Promise<void> => new Promise((done) => setTimeout(done, 20));

beforeEach(async () => {
  const hub = new FakeHub();
  app = new App(hub, "1.0");
  document.body.append(place);
  app.link.start();
  await settle();
  hub.current.tell({ type: "people", agents: [peer("api-worker")] });
  await settle();
  render(
    <AppContext.Provider value={app}>
      <Composer thread={null} />
    </AppContext.Provider>,
    place,
  );
});
afterEach(() => {
  render(null, place);
  place.remove();
  app.link.stop();
});

it("completes a mention at once, so that the next letter stands behind it", async () => {
  const area = place.querySelector("textarea");
  if (area === null) throw new Error("no composer");
  const type = (letters: string): void => {
    area.setRangeText(letters, area.selectionStart, area.selectionEnd, "end");
    area.dispatchEvent(new Event("input", { bubbles: true }));
  };
  area.focus();
  type("@wor");
  await drawn();
  area.dispatchEvent(new KeyboardEvent("keydown", { key: "Tab", bubbles: true }));
  type("o");
  await drawn();
  type("nly");
  await drawn();
  expect(area.value).toBe("@api-worker only");
});
