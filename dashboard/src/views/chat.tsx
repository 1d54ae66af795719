// The chat: all messages to the channel as they come, with a way into each thread beside them.

import type { ComponentChild, VNode } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Item } from "../protocol";
import { dayKey, dayName } from "../store/clock";
import { go, hrefOf, type Route, threadHref } from "../store/route";
import { matching, type Timeline } from "../store/timeline";
import { useApp } from "../ui/context";
import { onKeys } from "../ui/keyboard";
import { Button, Empty, IconButton } from "../ui/parts";
import { Windowed } from "../ui/windowed";
import { Composer, focusComposer } from "./composer";
import { copyLink, flag, MessageRow } from "./message";
import { together, useElements, useMoves } from "./run";
import { Thread } from "./thread";

export function Chat({ route }: { route: Route }): VNode {
  const app = useApp();
  const shown: Shown = {
    from: route.query.get("from") ?? "",
    with: route.query.get("with") ?? "",
    badge: route.query.get("badge") ?? "",
  };
  const thread = route.query.get("thread") ?? null;
  const filtered = Object.values(shown).some(Boolean);
  const key = JSON.stringify(shown);
  const timeline = useMemo(() => {
    if (!filtered) return app.channel;
    const { from, with: party, badge } = shown;
    const made = app.follow(
      matching({ ...(from && { sender: from }), ...(party && { party }), ...(badge && { badge }) }),
    );
    void made.load();
    return made;
  }, [key]);
  useEffect(
    () => () => {
      if (timeline !== app.channel) app.unfollow(timeline);
    },
    [timeline],
  );

  return (
    <div class={`chat ${thread === null ? "" : "with-thread"}`}>
      <section class="chat-main" aria-label="Chat">
        <header class="bar">
          <h1>Chat</h1>
          <Filters shown={shown} />
        </header>
        <Stream key={key} timeline={timeline} target={thread === null ? route.what : null} filtered={filtered} />
        <Composer thread={null} onSent={() => app.channel.later.value && void app.channel.load()} />
      </section>
      {thread !== null && (
        <Thread key={thread} root={thread} target={route.what} onClose={() => go(hrefOf("chat", null, { ...shown }))} />
      )}
    </div>
  );
}

/** What the address narrows the chat to: a writer's name, the id of an agent whose traffic it is, a badge. */
interface Shown {
  from: string;
  with: string;
  badge: string;
}

const BADGE_CHOICES: [string, string][] = [
  ["", "all messages"],
  ["task", "tasks"],
  ["task:open", "open tasks"],
  ["task:in_progress", "tasks in progress"],
  ["task:completed", "completed tasks"],
  ["task:failed", "failed tasks"],
  ["importance:high", "important"],
  ["question:true", "open questions"],
  ["question:answered", "answered questions"],
  ["git-commit", "with commits"],
  ["project", "with a project"],
];

function Filters({ shown }: { shown: Shown }): VNode {
  const app = useApp();
  const { badge } = shown;
  const names = [...new Set([...app.agentNames.value, ...(shown.from ? [shown.from] : [])])].sort();
  const parties = new Map(app.people.value.map((agent) => [agent.id, agent.name]));
  if (shown.with && !parties.has(shown.with)) parties.set(shown.with, shown.with);
  const choices = BADGE_CHOICES.some(([value]) => value === badge)
    ? BADGE_CHOICES
    : [...BADGE_CHOICES, [badge, badge] as [string, string]];
  const set = (changed: Partial<Shown>): void => go(hrefOf("chat", null, { ...shown, ...changed }));
  const setWho = (value: string): void => {
    const [how = "", ...who] = value.split(" ");
    set({ from: "", with: "", [how]: who.join(" ") });
  };
  return (
    <div class="filters" role="group" aria-label="Filter">
      <select
        aria-label="Who"
        value={shown.with ? `with ${shown.with}` : `from ${shown.from}`}
        onChange={(event) => setWho(event.currentTarget.value)}
      >
        <option value="from ">everybody</option>
        <optgroup label="written by">
          <option value="from user">you</option>
          {names.map((name) => (
            <option value={`from ${name}`}>{name}</option>
          ))}
        </optgroup>
        {parties.size > 0 && (
          <optgroup label="from and to">
            {[...parties].map(([id, name]) => (
              <option value={`with ${id}`}>{`from and to ${name}`}</option>
            ))}
          </optgroup>
        )}
      </select>
      <select aria-label="What" value={badge} onChange={(event) => set({ badge: event.currentTarget.value })}>
        {choices.map(([value, label]) => (
          <option value={value}>{label}</option>
        ))}
      </select>
      {Object.values(shown).some(Boolean) && (
        <Button kind="ghost" small icon="close" onClick={() => set({ from: "", with: "", badge: "" })}>
          Show all
        </Button>
      )}
      <IconButton icon="trash" label="Clear the chat; nothing is deleted" onClick={() => void app.clearChannel()} />
    </div>
  );
}

interface StreamProps {
  timeline: Timeline;
  /** A message to show and to mark. */
  target: string | null;
  /** Only some messages are here: what is seen does not count as read. */
  filtered: boolean;
}

function Stream({ timeline, target, filtered }: StreamProps): VNode {
  const app = useApp();
  const { handle, seek, toEnd } = useMoves(timeline);
  const [atEnd, setAtEnd] = useState(true);
  const [active, setActive] = useState<string | null>(target);
  const elements = useElements();
  const unreadFrom = useRef(app.readUpto.value).current; // where the person was when the chat was opened
  const items = timeline.items.value;
  const fresh = filtered ? undefined : firstUnread(items, unreadFrom);
  const loading = timeline.loading.value;

  useEffect(() => {
    if (target === null) return;
    setActive(target);
    seek(target);
  }, [target]);

  const move = (step: number): void => {
    const at = items.findIndex((item) => item.message === active);
    const next = items[at < 0 ? items.length - 1 : Math.min(Math.max(at + step, 0), items.length - 1)];
    if (next === undefined) return;
    setActive(next.message);
    handle.current?.show(next.message);
    requestAnimationFrame(() =>
      document
        .querySelector<HTMLElement>(`[data-message="${next.message}"] a, [data-message="${next.message}"] button`)
        ?.focus({ preventScroll: true }),
    );
  };
  const current = items.find((item) => item.message === active);
  onKeys({
    j: () => move(1),
    k: () => move(-1),
    r: () => current && go(threadHref(current.thread ?? current.message, current.message)),
    t: () => current && current.task === null && void flag(app, current),
    l: () => current && void copyLink(current),
    c: () => {
      focusComposer.value = { thread: "", text: "" };
    },
    G: toEnd,
  });
  const onView = (end: boolean, last: Item | undefined): void => {
    setAtEnd(end);
    if (!filtered && last !== undefined && document.hasFocus()) app.markRead(last.seq);
  };
  const newer =
    items.filter((item) => item.seq > app.readUpto.value && item.source !== "user").length + timeline.unseen.value;

  if (items.length === 0 && loading === null) {
    return (
      <div class="stream">
        {timeline.problem.value !== null ? (
          <Trouble timeline={timeline} />
        ) : filtered ? (
          <NothingFound />
        ) : (
          <NoMessages />
        )}
      </div>
    );
  }
  return (
    <div class="stream">
      <Windowed
        rows={items}
        keyOf={keyOf}
        handle={handle}
        label="Messages"
        nearStart={() => void timeline.loadEarlier()}
        nearEnd={() => void timeline.loadLater()}
        onView={onView}
        before={
          <p class="edge">
            {timeline.earlier.value
              ? "Reading earlier messages…"
              : loading === "first"
                ? "Reading…"
                : "This is where it begins."}
          </p>
        }
        after={<div class="tail" />}
        elementsOf={(item, index, tight) => elements(item, hasHead(items[index - 1], item), tight)}
        render={(item, index, tight) => (
          <Row
            item={item}
            tight={tight}
            before={items[index - 1]}
            fresh={item === fresh}
            active={item.message === active}
          />
        )}
      />
      {(!atEnd || timeline.later.value) && (
        <button type="button" class="to-end" onClick={toEnd}>
          {newer > 0 ? `${newer} new` : "Newest"} ↓
        </button>
      )}
    </div>
  );
}

const keyOf = (item: Item): string => item.message;

/** The first message that others wrote after what was read, if what was read is here, too. */
export function firstUnread(items: readonly Item[], readUpto: number): Item | undefined {
  const [first] = items;
  if (readUpto === 0 || first === undefined || first.seq > readUpto) return undefined;
  return items.find((item) => item.seq > readUpto && item.source !== "user");
}

function Row({
  item,
  before,
  fresh,
  active,
  tight,
}: {
  item: Item;
  before: Item | undefined;
  fresh: boolean;
  active: boolean;
  tight: boolean;
}): VNode {
  const newDay = before === undefined || dayKey(before.ts) !== dayKey(item.ts);
  const head = fresh || hasHead(before, item);
  const marks: ComponentChild[] = [];
  if (newDay) marks.push(<Divider text={dayName(item.ts)} />);
  if (fresh) marks.push(<Divider text="New" fresh />);
  return (
    <>
      {marks}
      <MessageRow item={item} head={head} active={active} tight={tight} />
    </>
  );
}

function hasHead(before: Item | undefined, item: Item): boolean {
  return before === undefined || dayKey(before.ts) !== dayKey(item.ts) || !together(before, item);
}

export function Divider({ text, fresh = false }: { text: string; fresh?: boolean }): VNode {
  return (
    <div class={`divider ${fresh ? "fresh" : ""}`} role="separator" aria-label={text}>
      <span>{text}</span>
    </div>
  );
}

function NoMessages(): VNode {
  return (
    <Empty icon="chat" title="Nobody has written yet">
      <p>
        What agents say to each other appears here, and so does what you write. Open two sessions of Claude Code and
        type <code>/crosschat</code> in each, or write the first message below.
      </p>
    </Empty>
  );
}

function NothingFound(): VNode {
  return (
    <Empty icon="search" title="No message fits this filter">
      <p>Choose another agent or another badge above, or show all messages.</p>
    </Empty>
  );
}

function Trouble({ timeline }: { timeline: Timeline }): VNode {
  return (
    <Empty icon="warn" title="The messages could not be read">
      <p>{timeline.problem.value}</p>
      <Button onClick={() => void timeline.load()}>Try again</Button>
    </Empty>
  );
}
