// One message as it stands in the chat, a thread, a search or a list of what needs the person.

import type { VNode } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { Item, PageFrame, RecipientView } from "../protocol";
import { go, hrefOf, threadHref } from "../store/route";
import { announce, attempt, toast } from "../store/toasts";
import { CodeBlock, draw, type IsName } from "../text/markdown";
import { useApp } from "../ui/context";
import { Icon } from "../ui/icons";
import { At, Avatar, BadgeChip, Button, Chip, copyText, Dialog, Field, Foreign, IconButton } from "../ui/parts";

// As much of a long message is shown until one asks for all of it, so that a screen full of them stays light.
const FOLDED_CHARS = 1_600;
const FOLDED_LINES = 20;
const FOLDED_ELEMENTS = 60;
const TIGHT_ELEMENTS = 1;

interface MessageProps {
  item: Item;
  /** Whether author and time are shown; a message right after one of the same author needs neither. */
  head?: boolean;
  /** In a thread there is no way into the thread. */
  inThread?: boolean;
  active?: boolean;
  quiet?: boolean; // no actions: a preview
  /** There is room for its text only: as little of its form as can be is drawn. */
  tight?: boolean;
}

const nameOfAuthor = (item: Item): string =>
  item.source === "user"
    ? "You"
    : item.source === "cli"
      ? "You, in the terminal"
      : item.source === "system"
        ? "CrossChat"
        : item.from_name;

export function MessageRow({
  item,
  head = true,
  inThread = false,
  active = false,
  quiet = false,
  tight = false,
}: MessageProps): VNode {
  const app = useApp();
  const [over, setOver] = useState(false);
  const [focused, setFocused] = useState(false);
  const badges = item.badges.filter((badge) => !(badge.type === "importance" && badge.value === "normal"));
  const strayed = item.thread !== null && !inThread && !quiet;
  const foot = badges.length > 0 || item.to !== null || item.replies > 0 || strayed;
  const body = <Body item={item} room={tight ? TIGHT_ELEMENTS : FOLDED_ELEMENTS} />;
  const tools = !quiet && (over || focused || active);
  return (
    <article
      class={`message ${head ? "head" : ""} ${active ? "active" : ""} ${item.private ? "private" : ""}`}
      aria-label={`${nameOfAuthor(item)}: ${item.content.slice(0, 80)}`}
      data-message={item.message}
      onMouseEnter={() => setOver(true)}
      onMouseLeave={() => setOver(false)}
      onFocusCapture={() => setFocused(true)}
      onBlurCapture={() => setFocused(false)}
    >
      {head ? <Avatar name={item.from_name} source={item.source} /> : <At iso={item.ts} class="gutter" />}
      {head || foot ? (
        <div class="message-main">
          {head && (
            <header class="message-head">
              <Foreign text={nameOfAuthor(item)} class="author" />
              <At iso={item.ts} />
              {item.private && (
                <Chip tone="quiet" title="Only those it names, its author and you can read it.">
                  <Icon name="lock" size={12} />
                  direct
                </Chip>
              )}
              {item.quiet && (
                <Chip tone="quiet" title="Agents that only answer each other wake nobody any more.">
                  wakes nobody
                </Chip>
              )}
            </header>
          )}
          {body}
          {foot && (
            <footer class="message-foot">
              {badges.map((badge) => (
                <BadgeChip badge={badge} />
              ))}
              {item.replies > 0 && !inThread && (
                <a class="thread-link" href={threadHref(item.message)}>
                  {item.replies === 1 ? "1 reply" : `${item.replies} replies`}
                </a>
              )}
              {strayed && item.thread !== null && (
                <a class="thread-link" href={threadHref(item.thread, item.message)}>
                  in a thread
                </a>
              )}
              {item.to !== null && <Receipts item={item} />}
            </footer>
          )}
        </div>
      ) : (
        body
      )}
      {tools && <Tools item={item} inThread={inThread} app={app} />}
    </article>
  );
}

/** How many elements the text of a message has while it is folded. */
export function textElementsOf(item: Item, isName: IsName): number {
  return draw(isLong(item.content) ? beginning(item.content) : item.content, isName, FOLDED_ELEMENTS).elements;
}

/** How many its row has beside those of the text, or one more where something is not there. */
export function frameElementsOf(item: Item, head: boolean): number {
  const foot = item.badges.length * 4 + (item.to === null ? 0 : 3) + Number(item.replies > 0 || item.thread !== null);
  const chips = head ? (item.private ? 3 : 0) + Number(item.quiet) : 0;
  const rest = (item.metadata === null ? 0 : 2) + Number(item.more !== null || isLong(item.content));
  return (head ? 8 : 4) + (foot === 0 ? 0 : foot + (head ? 1 : 2)) + chips + rest;
}

function Body({ item, room }: { item: Item; room: number }): VNode {
  const app = useApp();
  const rest = app.unfolded.value.get(item.message);
  const whole = rest !== undefined;
  const [data, setData] = useState(false);
  const text = item.content + (rest ?? "");
  const long = !whole && isLong(text);
  const isName = isNameOf(app.agentNames.value);
  const drawn = draw(long ? beginning(text) : text, isName, whole ? undefined : room);
  const folded = long || drawn.short;
  const readRest = async (): Promise<void> => {
    let more: number | null = item.more;
    let read = "";
    while (more !== null && more > 0) {
      const page: PageFrame = await app.link.ask<PageFrame>({ type: "read", message: item.message, offset: more });
      read += page.items[0]?.content ?? "";
      more = page.items[0]?.more ?? null;
    }
    app.unfold(item.message, read);
  };
  return (
    <div class="md" dir="auto">
      {drawn.nodes}
      {folded && (
        <button type="button" class="unfold" data-grows onClick={() => app.unfold(item.message)}>
          Show more
        </button>
      )}
      {!folded && item.more !== null && !rest && (
        <button type="button" class="unfold" data-grows onClick={() => void attempt(readRest)}>
          Read the rest
        </button>
      )}
      {item.metadata !== null && (
        <details class="metadata" onToggle={(event) => setData(event.currentTarget.open)}>
          <summary>data</summary>
          {data && <CodeBlock text={JSON.stringify(item.metadata, null, 2)} language="json" />}
        </details>
      )}
    </div>
  );
}

export function isNameOf(names: readonly string[]): IsName {
  return (name) => name === "here" || name === "user" || names.includes(name);
}

export function isLong(text: string): boolean {
  return text.length > FOLDED_CHARS * 1.5 || text.split("\n", FOLDED_LINES * 2).length > FOLDED_LINES * 1.5;
}

/** As much as is shown of a long text, cut at the end of a line where there is one near. */
export function beginning(text: string): string {
  const lines = text.slice(0, FOLDED_CHARS).split("\n").slice(0, FOLDED_LINES).join("\n");
  const end = lines.lastIndexOf("\n");
  return end > lines.length / 2 ? lines.slice(0, end) : lines;
}

type State = RecipientView["state"];
const STATES: Record<State, string> = {
  stored: "stored, not fetched yet",
  offered: "delivered to its session",
  shown: "shown to the model",
  answered: "answered",
};

/** How far a message got with those it is for; more about each on demand, as the hub knows it. */
function Receipts({ item }: { item: Item }): VNode | null {
  const app = useApp();
  const [open, setOpen] = useState(false);
  const to = (item.to ?? []).filter((id) => id !== item.from_id && app.peopleById.value.has(id));
  if (to.length === 0) return null;
  const seen = to.filter((id) => {
    const agent = app.peopleById.value.get(id);
    return agent !== undefined && (agent.cursor >= item.seq || agent.shown.includes(item.seq));
  }).length;
  return (
    <>
      <button
        type="button"
        class={`receipt ${seen === to.length ? "all" : ""}`}
        onClick={() => setOpen(true)}
        title="who got it"
      >
        <Icon name={seen === to.length ? "check" : "eye"} size={13} />
        {to.length === 1 ? (seen === 1 ? "read" : "not read yet") : `read by ${seen} of ${to.length}`}
      </button>
      {open && <ReceiptsDialog item={item} onClose={() => setOpen(false)} />}
    </>
  );
}

function ReceiptsDialog({ item, onClose }: { item: Item; onClose: () => void }): VNode {
  const app = useApp();
  const [recipients, setRecipients] = useState<readonly RecipientView[] | null>(null);
  useEffect(() => {
    void app.link.ask<PageFrame>({ type: "read", message: item.message }).then(
      (page) => setRecipients(page.items[0]?.recipients ?? []),
      () => setRecipients([]),
    );
  }, []);
  return (
    <Dialog label="Who got this message" onClose={onClose}>
      {recipients === null ? (
        <p class="hint">Asking the hub…</p>
      ) : recipients.length === 0 ? (
        <p class="hint">It was for nobody who was there.</p>
      ) : (
        <ul class="recipients">
          {recipients.map((one) => (
            <li>
              <Avatar name={one.name} small />
              <Foreign text={one.name} class="strong" />
              <span class={`state ${one.state}`}>{STATES[one.state]}</span>
              {one.away && <Chip tone="quiet">away</Chip>}
            </li>
          ))}
        </ul>
      )}
    </Dialog>
  );
}

function Tools({ item, inThread, app }: { item: Item; inThread: boolean; app: ReturnType<typeof useApp> }): VNode {
  const [dialog, setDialog] = useState<"badge" | "receipts" | null>(null);
  const root = item.thread ?? item.message;
  return (
    <div class="message-tools" role="toolbar" aria-label="Message">
      {!inThread && <IconButton icon="reply" label="Reply in thread" onClick={() => go(threadHref(root))} />}
      {item.task === null && <IconButton icon="flag" label="Make it a task" onClick={() => void flag(app, item)} />}
      <IconButton icon="tag" label="Add a badge" onClick={() => setDialog("badge")} />
      <IconButton icon="eye" label="Who got it" onClick={() => setDialog("receipts")} />
      <IconButton icon="link" label="Copy a link" onClick={() => void copyLink(item)} />
      {dialog === "badge" && <BadgeDialog item={item} onClose={() => setDialog(null)} />}
      {dialog === "receipts" && <ReceiptsDialog item={item} onClose={() => setDialog(null)} />}
    </div>
  );
}

export function flag(app: ReturnType<typeof useApp>, item: Item): Promise<boolean> {
  return attempt(() => app.change({ type: "flag", message: item.message }), "It is a task now");
}

export async function copyLink(item: Item): Promise<void> {
  const address = new URL(hrefOf("chat", item.message), location.href).href;
  if (await copyText(address)) announce("Link copied");
  else toast(address);
}

const KNOWN_BADGES: Record<string, string> = {
  importance: "high",
  question: "true",
  project: "",
  "git-commit": "",
};

function BadgeDialog({ item, onClose }: { item: Item; onClose: () => void }): VNode {
  const app = useApp();
  const [type, setType] = useState("importance");
  const [value, setValue] = useState("high");
  const add = async (): Promise<void> => {
    const done = await attempt(
      () => app.change({ type: "badge", message: item.message, badge_type: type.trim(), value: value.trim() }),
      "Badge added",
    );
    if (done) onClose();
  };
  return (
    <Dialog label="Add a badge" onClose={onClose}>
      <form
        class="form"
        onSubmit={(event) => {
          event.preventDefault();
          void add();
        }}
      >
        <Field label="Type">
          <input
            list="badge-types"
            value={type}
            maxLength={64}
            onInput={(event) => {
              setType(event.currentTarget.value);
              setValue(KNOWN_BADGES[event.currentTarget.value] ?? value);
            }}
          />
        </Field>
        <datalist id="badge-types">
          {Object.keys(KNOWN_BADGES).map((name) => (
            <option value={name} />
          ))}
        </datalist>
        <Field label="Value" hint={type === "importance" ? "high, normal or low" : undefined}>
          <input value={value} maxLength={200} dir="auto" onInput={(event) => setValue(event.currentTarget.value)} />
        </Field>
        <div class="preview">
          <BadgeChip badge={{ type: type.trim() || "type", value: value.trim() || "value", label: null }} />
        </div>
        <div class="panel-actions">
          <Button kind="primary" type="submit" blocked={type.trim() && value.trim() ? null : "Both are needed."}>
            Add
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
