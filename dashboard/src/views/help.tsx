// The sheet of keys.

import type { VNode } from "preact";
import { Dialog } from "../ui/parts";

const KEYS: [string, [string, string][]][] = [
  [
    "Anywhere",
    [
      ["1 … 8", "the views, in their order"],
      ["/", "search"],
      ["p", "to the permission request that waits"],
      ["Esc", "close a thread, a list or a dialog"],
      ["?", "this sheet"],
    ],
  ],
  [
    "Chat",
    [
      ["j  k", "next and previous message"],
      ["r", "reply in its thread"],
      ["t", "make it a task"],
      ["l", "copy a link to it"],
      ["c", "write a message"],
      ["G", "to the newest"],
    ],
  ],
  [
    "Writing",
    [
      ["Enter", "send"],
      ["Shift Enter", "a new line"],
      ["@", "mention an agent; Tab or Enter takes the name"],
    ],
  ],
];

export function HelpSheet({ onClose }: { onClose: () => void }): VNode {
  return (
    <Dialog label="Keys" onClose={onClose} wide>
      <div class="sheet">
        {KEYS.map(([title, keys]) => (
          <section>
            <h3>{title}</h3>
            <dl>
              {keys.map(([key, what]) => (
                <>
                  <dt>
                    {key.split("  ").map((one) => (
                      <kbd>{one}</kbd>
                    ))}
                  </dt>
                  <dd>{what}</dd>
                </>
              ))}
            </dl>
          </section>
        ))}
      </div>
      <p class="hint">
        No key allows anything: a permission is decided with its own button, after the request was there to be read.
      </p>
    </Dialog>
  );
}
