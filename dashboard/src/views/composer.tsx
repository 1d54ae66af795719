// Where the person writes: to everybody, to those it mentions, or into a thread.

import { signal } from "@preact/signals";
import type { VNode } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { CONTENT_BYTES } from "../protocol";
import { attempt } from "../store/toasts";
import { useApp } from "../ui/context";
import { Avatar, Button, Foreign, PRESENCES, presenceOf } from "../ui/parts";

const SUGGESTED = 8;
const drafts = new Map<string, string>(); // what was begun and not sent, by thread

/** Set to ask the composer of a thread (or of the chat: "") to take the focus, with text put in front. */
export const focusComposer = signal<{ thread: string; text: string } | null>(null);

/** The mention that is being written at the caret: where it begins, and what of it is there. */
export function mentionAt(text: string, caret: number): { start: number; written: string } | null {
  const found = /(?:^|[\s([{"'])@([A-Za-z0-9._-]*)$/.exec(text.slice(0, caret));
  if (found === null) return null;
  const written = found[1] ?? "";
  return { start: caret - written.length - 1, written };
}

/** Names that fit, best first: those that begin so, then those that have it inside. */
export function completions(written: string, names: readonly string[]): string[] {
  const wanted = written.toLowerCase();
  const begins = names.filter((name) => name.toLowerCase().startsWith(wanted));
  const holds = names.filter((name) => !begins.includes(name) && name.toLowerCase().includes(wanted));
  const found = [...begins, ...holds].slice(0, SUGGESTED);
  return found.length === 1 && found[0] === written ? [] : found; // it is written out: Enter sends
}

export function Composer({ thread, onSent }: { thread: string | null; onSent?: () => void }): VNode {
  const app = useApp();
  const key = thread ?? "";
  const [text, setText] = useState(drafts.get(key) ?? "");
  const [sending, setSending] = useState(false);
  const [caret, setCaret] = useState(0);
  const [picked, setPicked] = useState(0);
  const [dismissed, setDismissed] = useState(-1);
  const area = useRef<HTMLTextAreaElement>(null);
  const mention = mentionAt(text, caret);
  const names = [
    "here",
    ...app.people.value.filter((agent) => agent.connected).map((agent) => agent.name),
    ...app.people.value.filter((agent) => !agent.connected).map((agent) => agent.name),
  ];
  const options = mention !== null && mention.start !== dismissed ? completions(mention.written, names) : [];
  const bytes = new TextEncoder().encode(text).length;
  const tooLong = bytes > CONTENT_BYTES;

  useEffect(() => {
    drafts.set(key, text);
  }, [text]);
  useLayoutEffect(() => {
    const element = area.current;
    if (element === null) return;
    element.style.height = "auto";
    element.style.height = `${Math.min(element.scrollHeight + 2, 240)}px`;
  }, [text]);
  useEffect(() => {
    const asked = focusComposer.value;
    if (asked === null || asked.thread !== key) return;
    focusComposer.value = null;
    if (asked.text !== "" && !text.includes(asked.text)) setText(`${asked.text} ${text}`);
    area.current?.focus();
  }, [focusComposer.value]);

  const complete = (name: string): void => {
    if (mention === null) return;
    const before = `${text.slice(0, mention.start)}@${name} `;
    const whole = before + text.slice(caret).replace(/^ /, "");
    setText(whole);
    setPicked(0);
    setCaret(before.length);
    const element = area.current;
    if (element === null) return;
    element.value = whole; // at once: the next letter may be typed before the page is drawn again
    element.focus();
    element.setSelectionRange(before.length, before.length);
  };
  const send = async (): Promise<void> => {
    if (text.trim() === "" || sending || tooLong) return;
    setSending(true);
    const done = await attempt(() => app.send(text.trim(), thread));
    setSending(false);
    if (!done) return;
    setText("");
    onSent?.();
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.isComposing) return;
    if (options.length > 0) {
      const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
      if (step !== 0) {
        event.preventDefault();
        setPicked((picked + step + options.length) % options.length);
        return;
      }
      if (event.key === "Enter" || event.key === "Tab") {
        event.preventDefault();
        complete(options[picked] ?? options[0] ?? "");
        return;
      }
      if (event.key === "Escape") {
        event.stopPropagation();
        setDismissed(mention?.start ?? -1);
        return;
      }
    }
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      void send();
    } else if (event.key === "Escape") area.current?.blur();
  };
  const listId = `mentions-${key || "chat"}`;
  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        void send();
      }}
    >
      {options.length > 0 && (
        <ul class="mentions" id={listId} role="listbox" aria-label="Agents">
          {options.map((name, index) => {
            const agent = app.people.value.find((one) => one.name === name);
            return (
              <li
                id={`${listId}-${index}`}
                role="option"
                aria-selected={index === picked}
                onMouseDown={(event) => event.preventDefault()}
                onClick={() => complete(name)}
              >
                <Avatar name={name} source={name === "here" ? "system" : "agent"} small />
                <Foreign text={name} class="strong" />
                <span class="hint">
                  {agent === undefined ? "everybody who is connected" : PRESENCES[presenceOf(agent, false)].label}
                </span>
              </li>
            );
          })}
        </ul>
      )}
      <textarea
        ref={area}
        rows={1}
        dir="auto"
        value={text}
        aria-label={thread === null ? "Message to the agents" : "Reply"}
        placeholder={thread === null ? "Write to all agents, or @mention one" : "Reply in this thread"}
        aria-autocomplete="list"
        aria-controls={options.length > 0 ? listId : undefined}
        aria-activedescendant={options.length > 0 ? `${listId}-${picked}` : undefined}
        onInput={(event) => {
          setText(event.currentTarget.value);
          setCaret(event.currentTarget.selectionStart);
          setPicked(0);
        }}
        onSelect={(event) => setCaret(event.currentTarget.selectionStart)}
        onKeyDown={onKeyDown}
      />
      <div class="composer-foot">
        <span class="hint">
          {tooLong ? (
            `${bytes - CONTENT_BYTES} bytes too long`
          ) : bytes > CONTENT_BYTES * 0.8 ? (
            `${CONTENT_BYTES - bytes} bytes left`
          ) : (
            <Reach text={text} thread={thread} />
          )}
        </span>
        <Button
          kind="primary"
          small
          type="submit"
          icon="send"
          blocked={
            text.trim() === ""
              ? "There is nothing to send."
              : tooLong
                ? "It is too long."
                : sending
                  ? "It is being sent."
                  : null
          }
        >
          Send
        </Button>
      </div>
    </form>
  );
}

/** Who will get it, in a few words. */
function Reach({ text, thread }: { text: string; thread: string | null }): VNode {
  const app = useApp();
  const named = app.agentNames.value.filter((name) =>
    new RegExp(`(^|[^\\w@/.])@${name.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}(?![\\w-])`, "i").test(text),
  );
  if (/(^|\s)@here\b/.test(text)) return <>to everybody who is connected</>;
  if (named.length > 0) return <>to {named.join(", ")}</>;
  return <>{thread === null ? "to everybody" : "to those in this thread"} · Enter sends, Shift+Enter breaks the line</>;
}
