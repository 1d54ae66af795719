// A run of messages without a gap, read from the hub page by page in both directions, and followed live at its end.
//
// Invariant: `items` rise by seq, each message is there once, and none is missing between the first and the last.
// While `later` is set the run ends before the newest, so what comes in live is counted (`unseen`) and not appended.

import { signal } from "@preact/signals";
import type { Asked, Link } from "../link/link";
import type { Item, PageFrame } from "../protocol";

export const PAGE = 60;

/** Which messages a timeline shows, and how to ask for pages of them. */
export interface Selection {
  ask(at: { before?: string; after?: string }, limit: number): Asked;
  /** Whether pages can also be read forwards from a message; a search only goes back. */
  forwards: boolean;
  includes(item: Item): boolean;
}

export const CHANNEL: Selection = {
  ask: (at, limit) => ({ type: "read", limit, ...at }),
  forwards: true,
  includes: (item) => item.kind === "message",
};

export function threadOf(root: string): Selection {
  return {
    ask: (at, limit) => ({ type: "read", thread: root, limit, ...at }),
    forwards: true,
    includes: (item) => item.kind === "reply" && item.thread === root,
  };
}

export interface Filter {
  query?: string;
  sender?: string;
  /** The id of an agent: what it wrote, and what was addressed to it. */
  party?: string;
  badge?: string;
  since?: string;
  until?: string;
}

export function matching(filter: Filter): Selection {
  const [type, value] = (filter.badge ?? "").split(":", 2);
  return {
    ask: (at, limit) => ({
      type: "search",
      limit,
      ...filter,
      ...(at.before === undefined ? {} : { before: at.before }),
    }),
    forwards: false,
    includes: (item) =>
      !filter.query &&
      !filter.until &&
      (!filter.sender || item.from_name === filter.sender || item.from_id === filter.sender) &&
      (!filter.party || item.from_id === filter.party || (item.to ?? []).includes(filter.party)) &&
      (!type || item.badges.some((badge) => badge.type === type && (value === undefined || badge.value === value))),
  };
}

export type Loading = "first" | "earlier" | "later" | null;

export class Timeline {
  readonly items = signal<readonly Item[]>([]);
  readonly earlier = signal(false);
  readonly later = signal(false);
  readonly loading = signal<Loading>("first");
  readonly problem = signal<string | null>(null);
  readonly unseen = signal(0);
  /** How many of the newest records a search has not seen yet. */
  readonly behind = signal(0);
  private generation = 0;
  private held: Item[] = []; // what came in while the first page was read
  private around: string | null = null; // the message that the first page was asked around, if not for the newest

  constructor(
    private readonly link: Link,
    readonly selection: Selection,
  ) {}

  /** The newest page; whatever was there is replaced. */
  load(): Promise<void> {
    this.around = null;
    return this.read("first", async () => {
      const page = await this.page({});
      return () => this.replace(page.items, page.earlier, false);
    });
  }

  /** The page around a message, or the newest if it is near that. */
  loadAround(message: string): Promise<void> {
    if (!this.selection.forwards) return this.load();
    this.around = message;
    return this.read("first", async () => {
      const [before, itself, after] = await Promise.all([
        this.page({ before: message }),
        this.link.ask<PageFrame>({ type: "read", message }),
        this.page({ after: message }),
      ]);
      return () => this.replace([...before.items, ...itself.items, ...after.items], before.earlier, after.later);
    });
  }

  /** What was asked for last once more, also if the answer is still out; the newest page if that message is gone. */
  async reload(): Promise<void> {
    if (this.around !== null) {
      await this.loadAround(this.around);
      if (this.problem.value === null) return;
    }
    await this.load();
  }

  loadEarlier(): Promise<void> {
    const first = this.items.value[0];
    if (!this.earlier.value || first === undefined || this.loading.value !== null) return Promise.resolve();
    return this.read("earlier", async () => {
      const page = await this.page({ before: first.message });
      return () => {
        this.items.value = merged(page.items, this.items.value);
        this.earlier.value = page.earlier && page.items.length > 0;
      };
    });
  }

  loadLater(): Promise<void> {
    const last = this.items.value.at(-1);
    if (!this.later.value || last === undefined || this.loading.value !== null) return Promise.resolve();
    return this.read("later", async () => {
      const page = await this.page({ after: last.message });
      return () => {
        this.items.value = merged(this.items.value, page.items);
        this.later.value = page.later;
        if (!page.later) this.unseen.value = 0;
      };
    });
  }

  has(message: string): boolean {
    return this.items.value.some((item) => item.message === message);
  }

  /** Take in a message as it happens. */
  append(item: Item): void {
    if (!this.selection.includes(item)) return;
    if (this.loading.value === "first") this.held.push(item);
    else if (this.later.value) this.unseen.value += 1;
    else this.items.value = merged(this.items.value, [item]);
  }

  /** Change one message, if it is here. */
  patch(message: string, change: (item: Item) => Item): void {
    const at = this.items.value.findIndex((item) => item.message === message);
    const found = this.items.value[at];
    if (found === undefined) return;
    const changed = change(found);
    if (changed !== found) this.items.value = this.items.value.with(at, changed);
  }

  drop(test: (item: Item) => boolean): void {
    this.items.value = this.items.value.filter((item) => !test(item));
  }

  private async page(at: { before?: string; after?: string }): Promise<PageFrame> {
    const page = await this.link.ask<PageFrame>(this.selection.ask(at, PAGE));
    this.behind.value = page.behind;
    return { ...page, items: merged([], page.items) }; // a search answers the newest first
  }

  private replace(items: readonly Item[], earlier: boolean, later: boolean): void {
    this.items.value = merged(merged([], items), later ? [] : this.held);
    this.held = [];
    this.earlier.value = earlier;
    this.later.value = later;
    this.unseen.value = 0;
  }

  /** One read at a time; a newer `load` makes an older answer void. */
  private async read(what: Exclude<Loading, null>, act: () => Promise<() => void>): Promise<void> {
    const generation = what === "first" ? ++this.generation : this.generation;
    this.loading.value = what;
    try {
      const apply = await act();
      if (generation !== this.generation) return;
      apply();
      this.problem.value = null;
    } catch (error) {
      if (generation === this.generation) this.problem.value = error instanceof Error ? error.message : String(error);
    } finally {
      if (generation === this.generation) this.loading.value = null;
    }
  }
}

/** Both in order of seq, each message once; of two versions of one, the one in `newer`. */
export function merged(older: readonly Item[], newer: readonly Item[]): Item[] {
  const last = older.at(-1);
  const first = newer[0];
  if (first !== undefined && (last === undefined || last.seq < first.seq) && rises(newer)) return [...older, ...newer];
  const bySeq = new Map<number, Item>();
  for (const item of older) bySeq.set(item.seq, item);
  for (const item of newer) bySeq.set(item.seq, item);
  return [...bySeq.values()].sort((one, other) => one.seq - other.seq);
}

function rises(items: readonly Item[]): boolean {
  return items.every((item, index) => index === 0 || (items[index - 1]?.seq ?? 0) < item.seq);
}
