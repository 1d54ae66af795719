// One permission request: who asks, all of what it wants, and the ways to answer.

import type { VNode } from "preact";
import { useMemo, useRef, useState } from "preact/hooks";
import type { Pending } from "../store/desk";
import { attempt } from "../store/toasts";
import { useApp } from "../ui/context";
import { Ago, Avatar, Button, Chip, Field, Foreign } from "../ui/parts";
import { useGuard } from "./guard";
import { Input, Raw, titleOf } from "./input";
import {
  type Asked,
  allowOnce,
  allowWith,
  answerQuestions,
  DESTINATIONS,
  type Destination,
  deny,
  type Output,
  parseRequest,
  type Suggestion,
} from "./request";

type Panel = "none" | "rules" | "deny";

export function PermissionCard({ pending, tickable }: { pending: Pending; tickable: boolean }): VNode {
  const app = useApp();
  const { view, genuine, deciding } = pending;
  const asked = useMemo(() => parseRequest(view.raw), [view.raw]);
  const guard = useGuard();
  const [panel, setPanel] = useState<Panel>("none");
  const offline = app.connected.value ? null : "The hub is not connected.";
  const blocked =
    offline ??
    (deciding ? "It is being sent." : null) ??
    (genuine === null ? "It is being checked." : genuine ? null : "It is not what the session sent.");
  const notYet = blocked ?? (asked.broken ? "It cannot be read, so it can only be denied." : null) ?? guard.reason;
  const decide = (output: Output, done: string): Promise<boolean> =>
    attempt(() => app.desk.decide(view.id, output), done);
  const ticked = app.desk.ticked.value.has(view.id);

  return (
    <article class="request" aria-label={`${view.name} wants to ${titleOf(asked)}`} data-request={view.id}>
      <header class="request-head">
        <Avatar name={view.name} />
        <div class="request-title">
          <h3>
            <Foreign text={view.name} /> wants to {titleOf(asked)}
          </h3>
          <p class="meta">
            <Foreign text={view.cwd} class="path" />
            <span>
              waits <Ago iso={view.received_at} />
            </span>
          </p>
        </div>
        <Chip tone="plain" title="the tool">
          {asked.tool || "unreadable"}
        </Chip>
        {view.printing && (
          <Chip tone="warn" title="It waits for you here. A program that started the session may show a dialog, too.">
            no terminal
          </Chip>
        )}
      </header>
      {genuine === false && (
        <p class="alarm" role="alert">
          What is shown is not what the session sent. It cannot be decided here; answer it in the terminal.
        </p>
      )}
      {asked.questions.length > 0 ? (
        <Questions asked={asked} raw={view.raw} blocked={notYet} decide={decide} />
      ) : (
        <Input asked={asked} raw={view.raw} />
      )}
      <div ref={guard.end} class="end" />
      {panel === "none" && (
        <footer class="request-actions">
          {asked.questions.length === 0 && (
            <>
              <Button
                kind="primary"
                blocked={notYet}
                onKeyDown={noRepeat}
                onClick={() => void decide(allowOnce(), `Allowed once for ${view.name}`)}
              >
                Allow once
              </Button>
              {asked.suggestions.length > 0 && (
                <Button blocked={notYet} onClick={() => setPanel("rules")}>
                  Allow from now on…
                </Button>
              )}
            </>
          )}
          <Button blocked={blocked} onClick={() => setPanel("deny")}>
            Deny…
          </Button>
          {tickable && asked.questions.length === 0 && (
            <label class="tick">
              <input
                type="checkbox"
                checked={ticked}
                disabled={notYet !== null && !ticked}
                onChange={(event) => app.desk.tick(view.id, event.currentTarget.checked)}
              />
              decide together with others
            </label>
          )}
          {notYet !== null && (
            <span class="why" aria-live="polite">
              {notYet}
            </span>
          )}
        </footer>
      )}
      {panel === "rules" && (
        <Rules asked={asked} blocked={notYet} decide={decide} back={() => setPanel("none")} name={view.name} />
      )}
      {panel === "deny" && <Denial blocked={blocked} decide={decide} back={() => setPanel("none")} name={view.name} />}
    </article>
  );
}

/** A key that is held down must not decide. */
function noRepeat(event: KeyboardEvent): void {
  if (event.repeat) event.preventDefault();
}

interface PanelProps {
  blocked: string | null;
  decide: (output: Output, done: string) => Promise<boolean>;
  back: () => void;
  name: string;
}

function Rules({ asked, blocked, decide, back, name }: PanelProps & { asked: Asked }): VNode {
  const [chosen, setChosen] = useState<ReadonlyMap<Suggestion, Destination | null>>(new Map());
  const toggle = (suggestion: Suggestion): void => {
    const next = new Map(chosen);
    if (!next.delete(suggestion)) next.set(suggestion, suggestion.destination);
    setChosen(next);
  };
  const send = (): Promise<boolean> =>
    decide(
      allowWith([...chosen].map(([suggestion, destination]) => ({ suggestion, destination }))),
      `Allowed for ${name}, with ${chosen.size} rule${chosen.size === 1 ? "" : "s"}`,
    );
  return (
    <fieldset class="panel">
      <legend>Allow, and let Claude Code remember</legend>
      {asked.suggestions.map((suggestion) => (
        <div class="rule">
          <label>
            <input type="checkbox" checked={chosen.has(suggestion)} onChange={() => toggle(suggestion)} />
            <code dir="ltr">
              <Foreign text={suggestion.text} />
            </code>
          </label>
          {suggestion.destination === null ? (
            <code>{String(suggestion.update.destination)}</code>
          ) : (
            <select
              aria-label={`where to remember ${suggestion.text}`}
              value={chosen.get(suggestion) ?? suggestion.destination}
              onChange={(event) => setChosen(new Map(chosen).set(suggestion, event.currentTarget.value as Destination))}
            >
              {DESTINATIONS.map(([value, label]) => (
                <option value={value}>{label}</option>
              ))}
            </select>
          )}
        </div>
      ))}
      <div class="panel-actions">
        <Button
          kind="primary"
          blocked={blocked ?? (chosen.size === 0 ? "Tick what is to be remembered." : null)}
          onKeyDown={noRepeat}
          onClick={() => void send()}
        >
          Allow and remember
        </Button>
        <Button kind="ghost" onClick={back}>
          Back
        </Button>
      </div>
    </fieldset>
  );
}

function Denial({ blocked, decide, back, name }: PanelProps): VNode {
  const reason = useRef<HTMLTextAreaElement>(null);
  const [interrupt, setInterrupt] = useState(false);
  return (
    <fieldset class="panel">
      <legend>Deny</legend>
      <Field label="Why (the model reads this)">
        <textarea ref={reason} rows={2} dir="auto" placeholder="Use the staging database instead." />
      </Field>
      <label class="tick">
        <input type="checkbox" checked={interrupt} onChange={(event) => setInterrupt(event.currentTarget.checked)} />
        and stop what it is doing
      </label>
      <div class="panel-actions">
        <Button
          kind="danger"
          blocked={blocked}
          onClick={() => void decide(deny(reason.current?.value ?? "", interrupt), `Denied for ${name}`)}
        >
          Deny
        </Button>
        <Button kind="ghost" onClick={back}>
          Back
        </Button>
      </div>
    </fieldset>
  );
}

/** An AskUserQuestion: the answers go back as if they had been given in the terminal. */
function Questions({
  asked,
  raw,
  blocked,
  decide,
}: {
  asked: Asked;
  raw: string;
  blocked: string | null;
  decide: PanelProps["decide"];
}): VNode {
  const [chosen, setChosen] = useState<ReadonlyMap<string, ReadonlySet<string>>>(new Map());
  const [others, setOthers] = useState<ReadonlyMap<string, string>>(new Map());
  const answerOf = (question: string): string =>
    [...(chosen.get(question) ?? []), (others.get(question) ?? "").trim()].filter(Boolean).join(", ");
  const unanswered = asked.questions.filter((one) => answerOf(one.question) === "").length;
  const choose = (question: string, label: string, several: boolean): void => {
    const before = chosen.get(question) ?? new Set<string>();
    const after = new Set(several ? before : []);
    if (several && before.has(label)) after.delete(label);
    else after.add(label);
    setChosen(new Map(chosen).set(question, after));
    if (!several) setOthers(new Map(others).set(question, ""));
  };
  return (
    <>
      {asked.questions.map((one, index) => (
        <fieldset class="question">
          <legend>
            {one.header !== "" && <Chip>{one.header}</Chip>} <Foreign text={one.question} />
          </legend>
          {one.options.map((option) => (
            <label class="option">
              <input
                type={one.several ? "checkbox" : "radio"}
                name={`question ${index}`}
                checked={chosen.get(one.question)?.has(option.label) ?? false}
                onChange={() => choose(one.question, option.label, one.several)}
              />
              <span>
                <Foreign text={option.label} class="option-label" />
                {option.description !== "" && <Foreign text={option.description} class="hint" />}
              </span>
            </label>
          ))}
          <label class="option other">
            <span class="hint">Something else</span>
            <input
              type="text"
              dir="auto"
              value={others.get(one.question) ?? ""}
              onInput={(event) => {
                setOthers(new Map(others).set(one.question, event.currentTarget.value));
                if (!one.several) setChosen(new Map(chosen).set(one.question, new Set()));
              }}
            />
          </label>
        </fieldset>
      ))}
      <Raw raw={raw} />
      <div class="request-actions">
        <Button
          kind="primary"
          blocked={blocked ?? (unanswered > 0 ? "Answer every question." : null)}
          onKeyDown={noRepeat}
          onClick={() =>
            void decide(
              answerQuestions(asked, new Map(asked.questions.map((one) => [one.question, answerOf(one.question)]))),
              "Answered",
            )
          }
        >
          Answer
        </Button>
      </div>
    </>
  );
}
