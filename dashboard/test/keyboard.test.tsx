import { render } from "preact";
import { afterEach, describe, expect, it } from "vitest";
import { onKeys } from "../src/ui/keyboard";

const place = document.createElement("div");
let heard: string[];

function View({ name }: { name: string }): null {
  onKeys({ j: () => heard.push(name) });
  return null;
}

function press(target: EventTarget, more: KeyboardEventInit = {}): void {
  target.dispatchEvent(new KeyboardEvent("keydown", { key: "j", bubbles: true, ...more }));
}

afterEach(() => render(null, place));

describe("a key of a view", () => {
  it("is heard from the moment the view is drawn, and no longer than it is there", () => {
    heard = [];
    render(<View name="first" />, place);
    press(document);
    render(<View name="second" />, place);
    press(document);
    render(null, place);
    press(document);
    expect(heard).toEqual(["first", "second"]);
  });

  it("is not taken from who writes, from a dialog, or with a modifier", () => {
    heard = [];
    document.body.innerHTML = "<input><dialog><button></button></dialog>";
    render(<View name="view" />, place);
    for (const inside of document.body.querySelectorAll("input, button")) press(inside);
    press(document, { ctrlKey: true });
    expect(heard).toEqual([]);
    press(document.body);
    expect(heard).toEqual(["view"]);
  });
});
