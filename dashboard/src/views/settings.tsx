// What can be chosen here: the look, notifications, the rules for which sessions ask, and which browsers are paired.

import type { VNode } from "preact";
import { useState } from "preact/hooks";
import type { KeyView } from "../protocol";
import { notifies, sounds, type Theme, theme } from "../store/memory";
import { attempt } from "../store/toasts";
import { useApp } from "../ui/context";
import { allowNotifications, notificationProblem } from "../ui/notify";
import { Ago, Button, Chip, Command, Dialog, Foreign } from "../ui/parts";
import { Presets } from "./presets";

const THEMES: [Theme, string][] = [
  ["system", "As the system"],
  ["light", "Light"],
  ["dark", "Dark"],
];

export function SettingsView(): VNode {
  const app = useApp();
  const hub = app.hub.value;
  return (
    <section class="page settings" aria-label="Settings">
      <header class="bar">
        <h1>Settings</h1>
      </header>
      <div class="scroll" tabIndex={0} role="region" aria-label="All settings">
        <section class="setting">
          <h2>Look</h2>
          <div class="segments" role="radiogroup" aria-label="Theme">
            {THEMES.map(([value, label]) => (
              <label>
                <input
                  type="radio"
                  name="theme"
                  checked={theme.value === value}
                  onChange={() => {
                    theme.value = value;
                  }}
                />
                <span>{label}</span>
              </label>
            ))}
          </div>
        </section>
        <Notifications />
        <AskList />
        <section class="setting">
          <h2>Paired browsers</h2>
          <p class="hint">A browser that is paired can read everything here and decide permission requests.</p>
          <ul class="keys">
            {app.desk.keys.value.map((key) => (
              <Key key={key.id} view={key} />
            ))}
          </ul>
          <p class="hint">
            To pair another one, run this in your own terminal, open the address it prints, and confirm here:
          </p>
          <Command text="crosschat dashboard" />
        </section>
        {hub !== null && (
          <section class="setting">
            <h2>Hub</h2>
            <dl class="facts">
              <dt>Version</dt>
              <dd>{hub.version}</dd>
              <dt>Started</dt>
              <dd>
                <Ago iso={hub.started_at} suffix=" ago" />
              </dd>
              <dt>Data</dt>
              <dd>
                <Foreign text={hub.home} class="path" />
              </dd>
              <dt>Records</dt>
              <dd>{hub.head.toLocaleString()}</dd>
            </dl>
            {hub.damage.map((damage) => (
              <p class="alarm">
                <Foreign text={damage.file} />, line {damage.line}: <Foreign text={damage.reason} />
              </p>
            ))}
          </section>
        )}
      </div>
    </section>
  );
}

function Notifications(): VNode {
  const [problem, setProblem] = useState(notificationProblem());
  return (
    <section class="setting">
      <h2>When something needs you</h2>
      <label class="switch">
        <input
          type="checkbox"
          role="switch"
          checked={notifies.value}
          onChange={(event) => {
            const wanted = event.currentTarget.checked;
            void (wanted ? allowNotifications() : Promise.resolve(true)).then((allowed) => {
              notifies.value = wanted && allowed;
              setProblem(allowed ? null : notificationProblem());
            });
          }}
        />
        <span>Show a notification of the browser</span>
      </label>
      {problem !== null && <p class="hint">{problem}</p>}
      <label class="switch">
        <input
          type="checkbox"
          role="switch"
          checked={sounds.value}
          onChange={(event) => {
            sounds.value = event.currentTarget.checked;
          }}
        />
        <span>Play a sound</span>
      </label>
      <p class="hint">
        Anything else, such as your phone, can be told by a command of yours. It is told who and what kind, never the
        contents:
      </p>
      <Command text="crosschat notify set -- COMMAND…" />
    </section>
  );
}

function AskList(): VNode {
  const app = useApp();
  const [rule, setRule] = useState("");
  const change = (text: string, how: "add" | "remove"): Promise<boolean> =>
    attempt(
      () => app.link.ask({ type: "ask", rule: text, change: how }),
      how === "add" ? "Sessions ask for it now" : "Removed",
    );
  return (
    <section class="setting">
      <h2>Always ask</h2>
      <p class="hint">
        Sessions ask you before these even where their permission mode would not. Written like Claude Code’s own rules.
      </p>
      <ul class="rules">
        {app.desk.rules.value.map((one) => (
          <li>
            <code dir="ltr">
              <Foreign text={one} />
            </code>
            <Button kind="ghost" small onClick={() => void change(one, "remove")}>
              Remove
            </Button>
          </li>
        ))}
      </ul>
      <form
        class="inline-form"
        onSubmit={(event) => {
          event.preventDefault();
          void change(rule.trim(), "add").then((done) => done && setRule(""));
        }}
      >
        <input
          aria-label="Rule"
          dir="ltr"
          placeholder="Bash(git push:*)"
          value={rule}
          onInput={(event) => setRule(event.currentTarget.value)}
        />
        <Button type="submit" icon="plus" blocked={rule.trim() === "" ? "Write a rule first." : null}>
          Add
        </Button>
      </form>
      <Presets />
    </section>
  );
}

function Key({ view }: { view: KeyView }): VNode {
  const app = useApp();
  const [asking, setAsking] = useState(false);
  return (
    <li class="key" data-key={view.id}>
      <div>
        <p>
          <Foreign text={view.label} class="strong" /> {view.current && <Chip tone="good">this one</Chip>}
          {!view.vouched && <Chip tone="bad">does not count</Chip>}
        </p>
        <p class="meta">
          <span>
            paired <Ago iso={view.paired_at} suffix=" ago" />
          </span>
          {view.last_seen_at !== null && (
            <span>
              last seen <Ago iso={view.last_seen_at} suffix=" ago" />
            </span>
          )}
          <code>{view.id.slice(0, 8)}</code>
        </p>
        {!view.vouched && (
          <p class="alarm">
            The audit does not vouch for it: some program may have written it into settings.json. Revoke it; if it is
            yours, pair it again after that.
          </p>
        )}
      </div>
      <Button small onClick={() => setAsking(true)}>
        Revoke
      </Button>
      {asking && (
        <Dialog label={`Revoke ${view.label}?`} onClose={() => setAsking(false)}>
          <p>
            {view.current
              ? "This page will be signed out at once and must be paired again."
              : "Its page is closed at once, and it must be paired again."}
          </p>
          <div class="panel-actions">
            <Button
              kind="danger"
              onClick={() =>
                void attempt(() => app.link.ask({ type: "revoke", key: view.id }), "Revoked").then(() =>
                  setAsking(false),
                )
              }
            >
              Revoke
            </Button>
            <Button kind="ghost" onClick={() => setAsking(false)}>
              Keep
            </Button>
          </div>
        </Dialog>
      )}
    </li>
  );
}
