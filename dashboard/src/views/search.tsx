// Search over everything that was ever written, with each result in its place.

import type { VNode } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Item } from "../protocol";
import { dayName } from "../store/clock";
import { route as current, go, hrefOf, type Route } from "../store/route";
import { type Filter, matching } from "../store/timeline";
import { useApp } from "../ui/context";
import { onKeys } from "../ui/keyboard";
import { Button, Empty } from "../ui/parts";
import { MessageRow } from "./message";

const TYPING_MS = 250;

export function SearchView({ route }: { route: Route }): VNode {
  const app = useApp();
  const field = useRef<HTMLInputElement>(null);
  const get = (name: string): string => route.query.get(name) ?? "";
  const [words, setWords] = useState(get("q"));
  const query = { q: get("q"), from: get("from"), badge: get("badge"), since: get("since"), until: get("until") };
  const asked = Object.values(query).some(Boolean);
  const timeline = useMemo(() => {
    const filter: Filter = {
      query: query.q,
      ...(query.from && { sender: query.from }),
      ...(query.badge && { badge: query.badge }),
      ...(query.since && { since: dayStart(query.since) }),
      ...(query.until && { until: dayEnd(query.until) }),
    };
    const made = app.follow(matching(filter));
    if (asked) void made.load();
    return made;
  }, [JSON.stringify(query)]);
  useEffect(() => () => app.unfollow(timeline), [timeline]);
  const set = (changed: Partial<typeof query>): void =>
    go(hrefOf("search", null, { ...Object.fromEntries(current.value.query), ...changed }), { replace: true });
  useEffect(() => {
    if (words === query.q) return;
    const timer = setTimeout(() => set({ q: words }), TYPING_MS);
    return () => clearTimeout(timer);
  }, [words]);
  useEffect(() => field.current?.focus(), []);
  onKeys({ "/": () => field.current?.focus() });
  const results = [...timeline.items.value].reverse();
  const busy = timeline.loading.value !== null;
  return (
    <section class="page search" aria-label="Search">
      <header class="bar">
        <h1>Search</h1>
      </header>
      <form
        class="search-form"
        role="search"
        onSubmit={(event) => {
          event.preventDefault();
          set({ q: words });
        }}
      >
        <input
          ref={field}
          type="search"
          class="search-words"
          aria-label="Words"
          placeholder="Words in any message"
          value={words}
          dir="auto"
          onInput={(event) => setWords(event.currentTarget.value)}
        />
        <Name label="From" list="search-names" value={query.from} onDone={(from) => set({ from })} />
        <datalist id="search-names">
          {["user", ...app.agentNames.value].map((name) => (
            <option value={name} />
          ))}
        </datalist>
        <Name label="Badge" list="search-badges" value={query.badge} onDone={(badge) => set({ badge })} />
        <datalist id="search-badges">
          {["task:open", "task:completed", "task:failed", "importance:high", "question", "git-commit", "project"].map(
            (name) => (
              <option value={name} />
            ),
          )}
        </datalist>
        <label class="date">
          <span>since</span>
          <input type="date" value={query.since} onChange={(event) => set({ since: event.currentTarget.value })} />
        </label>
        <label class="date">
          <span>until</span>
          <input type="date" value={query.until} onChange={(event) => set({ until: event.currentTarget.value })} />
        </label>
      </form>
      <div class="scroll" tabIndex={0} role="region" aria-label="Results">
        {!asked && (
          <Empty icon="search" title="Find anything that was said">
            <p>
              All of history is searched, also what was cleared from the chat. Words are found in any order; add who
              wrote it, a badge such as <code>task:failed</code>, or dates.
            </p>
          </Empty>
        )}
        {asked && timeline.problem.value !== null && <p class="alarm">{timeline.problem.value}</p>}
        {asked && !busy && timeline.problem.value === null && results.length === 0 && (
          <Empty icon="search" title="Nothing was found">
            <p>Try fewer words, or leave out the agent, the badge or the dates.</p>
          </Empty>
        )}
        {asked && timeline.behind.value > 0 && (
          <p class="meta" role="status">
            The newest {timeline.behind.value} records are not searched yet: try again in a moment.
          </p>
        )}
        <ol class="results">
          {results.map((item) => (
            <Result key={item.message} item={item} />
          ))}
        </ol>
        {timeline.earlier.value && (
          <Button kind="ghost" blocked={busy ? "Reading…" : null} onClick={() => void timeline.loadEarlier()}>
            Earlier results
          </Button>
        )}
      </div>
    </section>
  );
}

type NameProps = { label: string; list: string; value: string; onDone: (name: string) => void };

/** A name that counts once it is written out. What is half written stays, whatever is drawn anew meanwhile. */
function Name({ label, list, value, onDone }: NameProps): VNode {
  const [text, setText] = useState(value);
  useEffect(() => setText(value), [value]);
  return (
    <input
      aria-label={label}
      list={list}
      placeholder={label.toLowerCase()}
      value={text}
      onInput={(event) => setText(event.currentTarget.value)}
      onChange={(event) => onDone(event.currentTarget.value)}
    />
  );
}

function Result({ item }: { item: Item }): VNode {
  const inThread = item.thread !== null ? { thread: item.thread } : {};
  return (
    <li>
      <p class="meta">
        <span>{dayName(item.ts)}</span>
        {item.thread !== null && <span>in a thread</span>}
        <a href={hrefOf("chat", item.message, inThread)}>Show in its place</a>
      </p>
      <MessageRow item={item} quiet />
    </li>
  );
}

/** Days are those of whoever looks; the hub wants moments. */
export function dayStart(day: string): string {
  return new Date(`${day}T00:00:00`).toISOString();
}
export function dayEnd(day: string): string {
  return new Date(`${day}T23:59:59.999`).toISOString();
}
