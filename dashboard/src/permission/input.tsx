// All of what a session wants to do, shown exactly: nothing shortened, nothing unseen, claims marked as claims.

import type { ComponentChild, VNode } from "preact";
import type { Json } from "../protocol";
import { diffLines } from "../text/diff";
import { visible } from "../text/visible";
import type { Asked } from "./request";

const MARKED = 2_000; // beyond so many marks in one text they are shown without their own colour, to keep the page quick

/** A text as it is, with every character that would not be seen made visible. */
export function exactly(text: string): ComponentChild[] {
  const parts = visible(text);
  if (parts.length > MARKED * 2)
    return [parts.map((part) => (part.mark === undefined ? part.text : `⟦${part.text}⟧`)).join("")];
  return parts.map((part) =>
    part.mark === undefined ? (
      part.text
    ) : (
      <span class="unseen" title={part.mark}>
        {part.text}
      </span>
    ),
  );
}

function Exact({ text, label }: { text: string; label: string }): VNode {
  return (
    <pre class="exact" dir="ltr" tabIndex={0} role="group" aria-label={label}>
      {exactly(text)}
    </pre>
  );
}

const LABELS: Record<string, string> = {
  command: "Command",
  file_path: "File",
  notebook_path: "Notebook",
  path: "Path",
  url: "Address",
  content: "New content of the file",
  old_string: "What is replaced",
  new_string: "What takes its place",
  pattern: "Pattern",
  prompt: "Prompt",
  plan: "Plan",
};
const CLAIMS = new Set(["description"]);
const FIRST = ["command", "file_path", "notebook_path", "url", "path", "pattern"];

export function Input({ asked, raw }: { asked: Asked; raw: string }): VNode {
  return (
    <>
      {asked.broken ? <Exact text={raw} label="what was sent" /> : <Fields asked={asked} />}
      {!asked.broken && <Raw raw={raw} />}
    </>
  );
}

export function Raw({ raw }: { raw: string }): VNode {
  return (
    <details class="raw">
      <summary>Everything that was sent, as it was sent</summary>
      <Exact text={raw} label="everything that was sent" />
    </details>
  );
}

function Fields({ asked }: { asked: Asked }): VNode {
  const { input, tool } = asked;
  const left = new Map(Object.entries(input));
  const shown: ComponentChild[] = [];
  const take = (name: string): Json | undefined => {
    const value = left.get(name);
    left.delete(name);
    return value;
  };
  for (const name of FIRST) {
    if (left.has(name)) shown.push(<Value key={name} name={name} value={take(name) ?? null} />);
  }
  if (typeof input.old_string === "string" && typeof input.new_string === "string") {
    shown.push(<Diff key="diff" before={input.old_string} after={input.new_string} label="Change" />);
    left.delete("old_string");
    left.delete("new_string");
  }
  const edits = input.edits;
  if (tool === "MultiEdit" && Array.isArray(edits) && edits.every(isEdit)) {
    left.delete("edits");
    edits.forEach((edit, index) => {
      if (!isEdit(edit)) return;
      const { old_string, new_string, ...rest } = edit;
      shown.push(
        <Diff
          key={`edit ${index}`}
          before={old_string}
          after={new_string}
          label={`Change ${index + 1} of ${edits.length}`}
        />,
      );
      for (const [name, value] of Object.entries(rest))
        shown.push(<Value key={`${index} ${name}`} name={name} value={value ?? null} />);
    });
  }
  if (tool === "Write" && typeof input.content === "string") {
    shown.push(<Diff key="content" before="" after={input.content} label="The file will be" />);
    left.delete("content");
  }
  const claims = [...left].filter(([name]) => CLAIMS.has(name));
  const others = [...left].filter(([name]) => !CLAIMS.has(name));
  return (
    <div class="fields">
      {shown}
      {others.map(([name, value]) => (
        <Value key={name} name={name} value={value} />
      ))}
      {claims.map(([name, value]) => (
        <div key={name} class="value claim">
          <span class="value-name">The agent says (a claim)</span>
          <span class="claim-text" dir="auto">
            {exactly(typeof value === "string" ? value : JSON.stringify(value, null, 2))}
          </span>
        </div>
      ))}
      {shown.length + left.size === 0 && <p class="hint">It sends no input.</p>}
    </div>
  );
}

interface Edit {
  old_string: string;
  new_string: string;
  [key: string]: Json;
}

function isEdit(value: Json): value is Edit {
  return (
    typeof value === "object" &&
    value !== null &&
    !Array.isArray(value) &&
    typeof value.old_string === "string" &&
    typeof value.new_string === "string"
  );
}

function Value({ name, value }: { name: string; value: Json }): VNode {
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  const short = text.length <= 72 && !text.includes("\n") && name !== "command";
  return (
    <div class={`value ${short ? "short" : ""}`}>
      <span class="value-name">{LABELS[name] ?? exactly(name)}</span>
      {short ? (
        <code class="exact-short" dir="ltr">
          {exactly(text)}
        </code>
      ) : (
        <Exact text={text} label={LABELS[name] ?? name} />
      )}
    </div>
  );
}

const SIGNS = { same: " ", added: "+", removed: "−" } as const;

function Diff({ before, after, label }: { before: string; after: string; label: string }): VNode {
  const lines = diffLines(before, after);
  const added = lines.filter((line) => line.kind === "added").length;
  const removed = lines.filter((line) => line.kind === "removed").length;
  return (
    <div class="value">
      <span class="value-name">
        {label}
        <span class="diff-count">
          <span class="plus">+{added}</span> <span class="minus">−{removed}</span>
        </span>
      </span>
      <pre class="exact diff" dir="ltr" tabIndex={0} role="group" aria-label={label}>
        {lines.map((line) => (
          <span class={`line ${line.kind}`}>
            <span class="sign">{SIGNS[line.kind]}</span>
            {exactly(line.text)}
            {"\n"}
          </span>
        ))}
      </pre>
    </div>
  );
}

/** One line that says what is wanted, for titles: the tool and what it is about. */
export function titleOf(asked: Asked): string {
  const verbs: Record<string, string> = {
    Bash: "run a command",
    Edit: "change a file",
    MultiEdit: "change a file",
    Write: "write a file",
    NotebookEdit: "change a notebook",
    Read: "read a file",
    WebFetch: "fetch a web page",
    WebSearch: "search the web",
    AskUserQuestion: "know something from you",
    ExitPlanMode: "begin with its plan",
    Task: "start a helper",
  };
  return verbs[asked.tool] ?? (asked.tool === "" ? "do something that cannot be read" : `use ${asked.tool}`);
}
