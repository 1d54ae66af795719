// The ask-list where it is missed: sessions that hardly ask by themselves, and groups of rules to put on it at once.

import type { VNode } from "preact";
import type { PresetView } from "../protocol";
import { attempt } from "../store/toasts";
import { useApp } from "../ui/context";
import { Button, Foreign } from "../ui/parts";

/** Modes in which Claude Code decides by itself nearly always. */
const SELDOM = new Map([
  ["auto", "auto mode"],
  ["bypassPermissions", "bypass mode"],
  ["dontAsk", "a mode that does not ask"],
]);

/** Buttons for the presets that are not on the list yet. */
export function Presets(): VNode | null {
  const app = useApp();
  const missing = app.desk.presets.value.filter(({ rules }) =>
    rules.some((rule) => !app.desk.rules.value.includes(rule)),
  );
  if (missing.length === 0) return null;
  const add = async ({ name, rules }: PresetView): Promise<void> => {
    await attempt(
      async () => {
        for (const rule of rules) await app.link.ask({ type: "ask", rule, change: "add" });
      },
      `Sessions ask before they ${name === "network" ? "use the network" : name} now`,
    );
  };
  return (
    <p class="presets">
      Also ask me for:{" "}
      {missing.map((preset) => (
        <Button small icon="plus" key={preset.name} title={preset.rules.join("\n")} onClick={() => void add(preset)}>
          {preset.name}
        </Button>
      ))}
    </p>
  );
}

/** Which sessions hardly ask, and the presets; nothing if all of them ask. */
export function Seldom(): VNode | null {
  const app = useApp();
  const found = app.people.value.filter((agent) => agent.connected && SELDOM.has(agent.mode ?? ""));
  if (found.length === 0) return null;
  return (
    <div class="seldom">
      <p>
        {found.map((agent, at) => (
          <span key={agent.id}>
            {at > 0 && ", "}
            <Foreign text={agent.name} /> is in {SELDOM.get(agent.mode ?? "")}
          </span>
        ))}
        : hardly anything is asked there, so hardly anything comes here.
      </p>
      <Presets />
    </div>
  );
}
